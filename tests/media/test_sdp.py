"""Offers of browsers, OBS and others, and what is made of them."""

import pytest
from aiortc.sdp import SessionDescription

from voxgender.errors import FragmentRejected, OfferRejected
from voxgender.media.sdp import Fragment, Offer

HEAD = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\n"
TRANSPORT = (
    "c=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
    "a=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=rtcp-mux\r\n"
).format(":".join(["AB"] * 32))
AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\n" + TRANSPORT + "a=mid:0\r\na=sendonly\r\n"
    "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:0 PCMU/8000\r\n"
)
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 45\r\n" + TRANSPORT + "a=mid:1\r\na=sendonly\r\na=rtpmap:45 AV1/90000\r\n"
DATA = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n" + TRANSPORT + "a=mid:2\r\na=sctp-port:5000\r\n"
ANSWER = (
    HEAD.format(mids="0 2")
    + AUDIO.replace("sendonly", "recvonly")
    .replace("actpass", "active")
    .replace("a=mid:0", "a=candidate:1 1 udp 2130706431 127.0.0.1 4000 typ host\r\na=end-of-candidates\r\na=mid:0")
    + DATA.replace("actpass", "active")
)


def test_only_the_audio_and_the_data_channel_are_shown_to_aiortc() -> None:
    offer = Offer.parse(HEAD.format(mids="1 0 2") + VIDEO + AUDIO + DATA)
    shown = SessionDescription.parse(offer.sdp)
    assert [media.kind for media in shown.media] == ["audio", "application"]
    assert [group.items for group in shown.group] == [["0", "2"]]
    assert offer.ufrag == "abcd"


def test_the_answer_has_a_line_for_each_of_the_offers_in_its_order() -> None:
    """An aiortc client takes the first line's transport for all: candidates have to stand there too."""
    answer = Offer.parse(HEAD.format(mids="1 0 2") + VIDEO + AUDIO + DATA).complete(ANSWER)
    parsed = SessionDescription.parse(answer)
    assert [(m.kind, m.direction) for m in parsed.media] == [
        ("video", "inactive"),
        ("audio", "recvonly"),
        ("application", None),
    ]
    assert parsed.group[0].items == ["1", "0", "2"]
    assert parsed.media[0].ice.usernameFragment == "abcd"
    assert len(parsed.media[0].ice_candidates) == 1


def test_a_line_outside_the_bundle_is_refused_with_port_0() -> None:
    answer = Offer.parse(HEAD.format(mids="0 2") + AUDIO + DATA + VIDEO).complete(ANSWER)
    assert "m=video 0 UDP/TLS/RTP/SAVPF 45\r\n" in answer
    assert "a=group:BUNDLE 0 2\r\n" in answer


def test_a_second_audio_line_is_left_unused() -> None:
    second = AUDIO.replace("a=mid:0", "a=mid:1")
    answer = Offer.parse(HEAD.format(mids="0 1 2") + AUDIO + second + DATA).complete(ANSWER)
    assert [m.direction for m in SessionDescription.parse(answer).media] == ["recvonly", "inactive", None]


def test_the_answer_asks_for_what_suits_a_classifier_and_says_what_aiortc_leaves_out() -> None:
    answer = Offer.parse(HEAD.format(mids="0 2") + AUDIO + DATA).complete(ANSWER)
    lines = answer.split("\r\n")
    assert "a=ice-options:trickle" in lines
    assert "a=rtcp-mux-only" in lines
    (fmtp,) = (line for line in lines if line.startswith("a=fmtp:111 "))
    assert "useinbandfec=1" in fmtp
    assert "stereo=0" in fmtp


@pytest.mark.parametrize(
    "text", ["", "hello", "{}", "\x00", "m=audio 9 x y\r\n", "v=0\r\n" + AUDIO.replace("a=ice-ufrag:abcd\r\n", "")]
)
def test_what_is_no_webrtc_offer_is_malformed(text: str) -> None:
    with pytest.raises(OfferRejected) as caught:
        Offer.parse(text)
    assert caught.value.malformed or "no audio" in str(caught.value)


@pytest.mark.parametrize(
    ("media", "says"),
    [
        (DATA, "no m=audio"),
        (VIDEO + DATA, "no m=audio"),
        (AUDIO.replace("sendonly", "recvonly"), "not sent"),
        (AUDIO.replace("sendonly", "inactive"), "not sent"),
        (AUDIO.replace("m=audio 9", "m=audio 0"), "not sent"),
    ],
)
def test_an_offer_that_sends_no_audio_is_refused_and_told_why(media: str, says: str) -> None:
    with pytest.raises(OfferRejected, match=says) as caught:
        Offer.parse(HEAD.format(mids="0 1 2") + media)
    assert not caught.value.malformed


def test_port_0_with_bundle_only_is_not_a_refusal() -> None:
    audio = AUDIO.replace("m=audio 9", "m=audio 0") + "a=bundle-only\r\n"
    assert Offer.parse(HEAD.format(mids="2 0") + DATA + audio).ufrag == "abcd"


def test_candidates_that_can_never_work_here_are_not_tried() -> None:
    """aioice would open a multicast socket for each .local name, which only the browser's own network knows."""
    candidates = (
        "a=candidate:1 1 udp 2113937151 3c5d-1f.local 50000 typ host\r\n"
        "a=candidate:2 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active\r\n"
        "a=candidate:3 1 udp 2113937151 192.0.2.1 50001 typ host\r\n"
    )
    offer = Offer.parse(HEAD.format(mids="0") + AUDIO + candidates)
    assert [c.ip for c in SessionDescription.parse(offer.sdp).media[0].ice_candidates] == ["192.0.2.1"]
    fragment = Fragment.parse("a=ice-ufrag:abcd\r\nm=audio 9 x 0\r\na=mid:0\r\n" + candidates)
    assert fragment.ufrag == "abcd"
    assert [(mid, text.split()[0]) for mid, text in fragment.candidates] == [("0", "3")]


def test_unix_line_ends_are_read_too() -> None:
    assert Offer.parse((HEAD.format(mids="0") + AUDIO).replace("\r\n", "\n")).ufrag == "abcd"


@pytest.mark.parametrize("text", ["nonsense", '{"candidate": "x"}'])
def test_what_is_no_fragment_is_malformed(text: str) -> None:
    with pytest.raises(FragmentRejected) as caught:
        Fragment.parse(text)
    assert caught.value.malformed
