"""aiortc gets an offer that is written for it, and its answer is completed."""

import pytest
from aiortc.sdp import SessionDescription

from tests import offers
from voxgender.errors import SdpRejected
from voxgender.media.negotiation import aiortc_offer, check_update, complete
from voxgender.sdp import MID_EXTENSION, Offer

ANSWER = offers.sdp(
    offers.AUDIO.replace("sendonly", "recvonly")
    .replace("actpass", "active")
    .replace("a=setup", f"a=fingerprint:sha-384 {':'.join(['CD'] * 48)}\r\na=setup")
    .replace("a=mid:0", "a=candidate:1 1 udp 2130706431 127.0.0.1 4000 typ host\r\na=end-of-candidates\r\na=mid:0"),
    offers.DATA.replace("actpass", "active"),
    bundle="0 2",
)


def answer_to(*media: str, bundle: str | None = None, has_mids: bool = True) -> SessionDescription:
    offer = Offer.parse(offers.sdp(*media, bundle=bundle, has_mids=has_mids))
    return SessionDescription.parse(complete(offer, ANSWER))


def ufrag(description: SessionDescription) -> str | None:
    ice = description.media[0].ice
    assert ice is not None
    return ice.usernameFragment


def test_only_the_audio_and_the_data_channel_are_shown_to_aiortc() -> None:
    offer = Offer.parse(offers.sdp(offers.VIDEO, offers.AUDIO, offers.DATA, bundle="1 0 2"))
    description = SessionDescription.parse(aiortc_offer(offer))
    assert [media.kind for media in description.media] == ["audio", "application"]
    assert [group.items for group in description.group] == [["0", "2"]]
    assert ufrag(description) == "abcd"


def test_candidates_and_their_end_are_not_shown() -> None:
    """Told that candidates of which it can use none are complete, aioice gives up before the peer's checks come."""
    text = aiortc_offer(Offer.parse(offers.sdp(offers.AUDIO + "a=end-of-candidates\r\n", bundle="0")))
    assert "candidate" not in text


def test_the_answer_has_a_line_for_each_of_the_offers_in_its_order() -> None:
    """An aiortc client takes the first line's transport for all: candidates have to stand there too."""
    parsed = answer_to(offers.VIDEO, offers.AUDIO, offers.DATA, bundle="1 0 2")
    assert [(m.kind, m.direction) for m in parsed.media] == [
        ("video", "inactive"),
        ("audio", "recvonly"),
        ("application", None),
    ]
    assert parsed.group[0].items == ["1", "0", "2"]
    assert ufrag(parsed) == "abcd"
    assert len(parsed.media[0].ice_candidates) == 1


def test_a_line_outside_the_bundle_is_refused_with_port_0() -> None:
    parsed = answer_to(offers.AUDIO, offers.DATA, offers.VIDEO, bundle="0 2")
    assert [m.direction for m in parsed.media] == ["recvonly", None, "inactive"]
    assert parsed.media[2].port == 0


def test_without_a_group_there_is_none_in_the_answer_and_only_audio_is_taken() -> None:
    """The answer named a group that nobody had offered (RFC 8843 section 7.3), with one transport for two."""
    parsed = answer_to(offers.AUDIO, offers.DATA)
    assert parsed.group == []
    assert [m.port for m in parsed.media] == [9, 0]


def test_without_names_there_are_none_in_the_answer() -> None:
    parsed = answer_to(offers.AUDIO, offers.DATA, has_mids=False)
    assert parsed.group == []
    assert [m.rtp.muxId for m in parsed.media] == ["", ""]


def test_the_answer_asks_for_what_suits_a_classifier_and_says_what_aiortc_leaves_out() -> None:
    offer = Offer.parse(offers.sdp(offers.AUDIO, offers.DATA, bundle="0 2"))
    lines = complete(offer, ANSWER).split("\r\n")
    assert "a=ice-options:trickle" in lines
    assert "a=rtcp-mux-only" in lines
    (fmtp,) = (line for line in lines if line.startswith("a=fmtp:111 "))
    assert "useinbandfec=1" in fmtp
    assert "stereo=0" in fmtp


def test_the_certificate_is_named_by_one_hash() -> None:
    """OBS up to 30.2.3 takes the last of several fingerprints, and knows sha-256 only."""
    offer = Offer.parse(offers.sdp(offers.AUDIO, offers.DATA, bundle="0 2"))
    fingerprints = [line for line in complete(offer, ANSWER).split("\r\n") if line.startswith("a=fingerprint:")]
    assert {line.split()[0] for line in fingerprints} == {"a=fingerprint:sha-256"}
    assert len(fingerprints) == 2


def test_the_answer_keeps_the_offers_protocol() -> None:
    audio = offers.AUDIO.replace("UDP/TLS/RTP/SAVPF", "RTP/SAVPF")
    offer = Offer.parse(offers.sdp(audio, bundle="0"))
    assert "m=audio 9 RTP/SAVPF 111 0" in complete(offer, ANSWER).split("\r\n")


def a_voice(mid: str) -> str:
    return offers.AUDIO.replace("a=mid:0", f"a=mid:{mid}") + f"a=extmap:4 {MID_EXTENSION}\r\n"


def test_each_voice_of_a_room_is_answered_and_the_first_alone_is_shown_to_aiortc() -> None:
    media = (a_voice("a"), offers.DATA, a_voice("b"), a_voice("c").replace("sendonly", "inactive"))
    offer = Offer.parse(offers.sdp(*media, bundle="a 2 b c"))
    shown = SessionDescription.parse(aiortc_offer(offer))
    assert [line.kind for line in shown.media] == ["audio", "application"]
    answer = SessionDescription.parse(complete(offer, ANSWER))
    assert [line.rtp.muxId for line in answer.media] == ["a", "2", "b", "c"]
    assert [line.direction for line in answer.media if line.kind == "audio"] == ["recvonly", "recvonly", "inactive"]
    assert [group.items for group in answer.group] == [["a", "2", "b", "c"]]
    for line in (answer.media[0], answer.media[2]):
        assert [codec.payloadType for codec in line.rtp.codecs] == [111, 0]
        assert [(one.id, one.uri) for one in line.rtp.headerExtensions] == [(4, MID_EXTENSION)]
        assert line.rtp.codecs[0].parameters["usedtx"] == "1"
        assert line.ice is not None
        assert line.ice.usernameFragment == "abcd"
    assert answer.media[0].ice_candidates


def test_a_room_whose_first_line_has_left_gives_its_addresses_at_the_next() -> None:
    gone = a_voice("a").replace("m=audio 9", "m=audio 0").replace("sendonly", "inactive")
    offer = Offer.parse(offers.sdp(gone, a_voice("b"), a_voice("c"), bundle="b c"))
    answer = SessionDescription.parse(complete(offer, ANSWER))
    assert [line.port for line in answer.media] == [0, 9, 9]
    assert answer.media[1].ice_candidates
    assert not answer.media[2].ice_candidates
    assert [line.direction for line in answer.media] == ["inactive", "recvonly", "recvonly"]


def updated(before: str, after: str) -> None:
    check_update(Offer.parse(before).of_room(), Offer.parse(after).of_room())


def test_a_later_offer_belongs_to_the_same_connection() -> None:
    first = offers.sdp(a_voice("a"), a_voice("b"), offers.DATA, bundle="a b 2")
    updated(first, first)
    updated(first, offers.sdp(a_voice("a"), a_voice("b"), offers.DATA, a_voice("c"), bundle="a b 2 c"))
    with pytest.raises(SdpRejected, match="ICE restarts") as refusal:
        updated(first, first.replace("a=ice-ufrag:abcd", "a=ice-ufrag:efgh"))
    assert refusal.value.code == "ice_restart"
    with pytest.raises(SdpRejected, match="ICE restarts"):
        updated(first, first.replace("AB:CD" if "AB:CD" in first else "AB:AB", "AC:AB"))
    with pytest.raises(SdpRejected, match="in their order"):
        updated(first, offers.sdp(a_voice("a"), a_voice("b"), bundle="a b"))
    with pytest.raises(SdpRejected, match="in their order"):
        updated(first, offers.sdp(offers.DATA, a_voice("a"), a_voice("b"), bundle="2 a b"))
    with pytest.raises(SdpRejected, match="in one bundle"):
        updated(first, offers.sdp(a_voice("a"), a_voice("b"), offers.DATA))


def test_a_line_that_was_stopped_may_become_one_of_another_kind() -> None:
    """Chromium gives the line of a stopped voice to the next track of any kind, so a camera ended all later offers."""
    stopped = a_voice("b").replace("m=audio 9", "m=audio 0").replace("sendonly", "inactive")
    before = offers.sdp(a_voice("a"), stopped, a_voice("c"), offers.DATA, bundle="a c 2")
    camera = offers.VIDEO.replace("a=mid:1", "a=mid:d")
    after = offers.sdp(a_voice("a"), camera, a_voice("c"), offers.DATA, bundle="a d c 2")
    updated(before, after)
    answer = SessionDescription.parse(complete(Offer.parse(after), ANSWER))
    assert [(line.kind, line.direction) for line in answer.media[:3]] == [
        ("audio", "recvonly"), ("video", "inactive"), ("audio", "recvonly"),
    ]  # fmt: skip
    with pytest.raises(SdpRejected, match="in their order"):
        updated(after, before)
