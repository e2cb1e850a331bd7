"""Offers of browsers, OBS, gateways and strangers, and what is understood of them."""

import pytest

from tests import offers
from voxgender.errors import SdpRejected
from voxgender.sdp import (
    MAX_CANDIDATES,
    MAX_LINE,
    MAX_LINES,
    MAX_MEDIA_LINES,
    MAX_NAME,
    MAX_VOICES,
    MID_EXTENSION,
    Candidate,
    Codec,
    Fragment,
    HeaderExtension,
    Offer,
)


def test_the_first_audio_that_sends_and_the_data_channels_are_taken() -> None:
    offer = Offer.parse(offers.sdp(offers.VIDEO, offers.AUDIO, offers.DATA, bundle="1 0 2"))
    assert [line.kind for line in offer.lines] == ["video", "audio", "application"]
    assert (offer.audio_index, offer.data_index) == (1, 2)
    assert offer.bundle == ("1", "0", "2")
    assert offer.transport.ufrag == "abcd"
    assert offer.codecs == (Codec(111, "OPUS"), Codec(0, "PCMU"))
    assert offer.data is not None
    assert offer.data.sctp_port == 5000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{}",
        "\x00",
        "v=1\r\n",
        "m=audio 9 x y\r\n",
        offers.sdp(offers.AUDIO, bundle="0").replace("v=0", "v"),
    ],
)
def test_what_is_no_sdp_is_malformed(text: str) -> None:
    with pytest.raises(SdpRejected) as caught:
        Offer.parse(text)
    assert caught.value.code == "malformed_sdp"


@pytest.mark.parametrize(
    ("media", "says"),
    [
        ([offers.DATA], "no m=audio"),
        ([offers.VIDEO, offers.DATA], "no m=audio"),
        ([offers.AUDIO.replace("sendonly", "recvonly")], "not sent"),
        ([offers.AUDIO.replace("sendonly", "inactive")], "not sent"),
        ([offers.AUDIO.replace("m=audio 9", "m=audio 0")], "not sent"),
        ([offers.AUDIO.replace(" 111 0", " 96").replace("opus", "speex")], "offer Opus"),
        ([offers.AUDIO.replace(" 111 0", " 72").replace(":111", ":72")], "offer Opus"),
    ],
)
def test_an_offer_that_sends_no_audio_is_refused_and_told_why(media: list[str], says: str) -> None:
    with pytest.raises(SdpRejected, match=says) as caught:
        Offer.parse(offers.sdp(*media, bundle="0 1 2"))
    assert caught.value.code == "no_audio"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("a=ice-ufrag:abcd\r\n", "", "a=ice-ufrag"),
        ("a=ice-ufrag:abcd", "a=ice-ufrag:abc", "4 to 256"),
        ("a=ice-ufrag:abcd", "a=ice-ufrag:" + 257 * "a", "4 to 256"),
        ("a=ice-ufrag:abcd", "a=ice-ufrag:ab:cd", "4 to 256"),
        ("a=ice-pwd:0123456789012345678901\r\n", "", "22 to 256"),
        ("a=ice-pwd:0123456789012345678901", "a=ice-pwd:short", "22 to 256"),
        ("a=setup:actpass\r\n", "", "no a=setup"),
        ("a=setup:actpass", "a=setup:holdconn", "'holdconn'"),
        ("a=fingerprint:sha-256", "a=fingerprint:md5", "no a=fingerprint"),
        (":AB\r\n", "\r\n", "32 bytes in hexadecimal"),
        ("AB:AB", "XY:AB", "32 bytes in hexadecimal"),
        ("a=rtcp-mux\r\n", "", "share a port"),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 111 0", "m=audio 9", "no media line"),
        ("m=audio 9", "m=audio nine", "from 0 to 65535"),
        ("m=audio 9", f"m=audio {'9' * 4000}", "from 0 to 65535"),
        ("SAVPF 111 0", "SAVPF 111 128", "from 0 to 127"),
        ("SAVPF 111 0", "SAVPF 111 \N{SUPERSCRIPT TWO}", "no media line"),
        ("SAVPF 111 0", "SAVPF" + 200 * " 111", "128 formats"),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111", "no a=rtpmap"),
        ("a=mid:0", "a=mid:" + 65 * "0", "1 to 64 characters"),
        ("a=mid:2", "a=mid:0", "the same name"),
        ("a=sctp-port:5000", "a=sctp-port:0", "1 to 65535"),
        ("a=sctp-port:5000", f"a=sctp-port:{'5' * 4000}", "1 to 65535"),
        ("a=sctp-port:5000", "a=max-message-size:-1", "number of bytes"),
        ("a=sctp-port:5000", "a=max-message-size:100", "at least 1200"),
        ("s=-", "s=\x01", "U\\+0001"),
    ],
)
def test_a_malformed_offer_is_told_what_to_do(old: str, new: str, says: str) -> None:
    """It used to be told what a parser stumbled over: ``None is not in list``, or nothing but 500."""
    text = offers.sdp(offers.AUDIO, offers.DATA, bundle="0 2")
    assert old in text
    with pytest.raises(SdpRejected, match=says) as caught:
        Offer.parse(text.replace(old, new))
    assert caught.value.code == "malformed_sdp"


def test_port_0_with_bundle_only_is_not_a_refusal() -> None:
    audio = offers.AUDIO.replace("m=audio 9", "m=audio 0") + "a=bundle-only\r\n"
    assert Offer.parse(offers.sdp(offers.DATA, audio, bundle="2 0")).audio_index == 1


def test_a_bundle_only_line_has_its_transport_from_the_first_of_its_group() -> None:
    """RFC 8843 section 7.1: it need not say anything of the transport itself."""
    bare = "".join(
        line
        for line in offers.AUDIO.replace("m=audio 9", "m=audio 0").splitlines(keepends=True)
        if not line.startswith(("a=ice", "a=fing", "a=setup"))
    )
    offer = Offer.parse(offers.sdp(offers.VIDEO, bare + "a=bundle-only\r\n", bundle="1 0"))
    assert offer.transport.ufrag == "abcd"


@pytest.mark.parametrize("has_mid", [True, False])
def test_without_a_bundle_group_the_audio_is_taken_alone(has_mid: bool) -> None:
    """GStreamer and SIP gateways offer so: they were answered with a group that could not work, or with none of use."""
    offer = Offer.parse(offers.sdp(offers.AUDIO, offers.DATA, has_mids=has_mid))
    assert offer.bundle == ()
    assert offer.data_index is None
    assert offer.audio.mid == ("0" if has_mid else None)


def test_a_group_that_the_audio_is_not_in_is_none_for_it() -> None:
    offer = Offer.parse(offers.sdp(offers.AUDIO, offers.VIDEO, offers.DATA, bundle="1 2"))
    assert offer.bundle == ()
    assert offer.data_index is None


@pytest.mark.parametrize(
    ("of_the_line", "of_the_session", "taken"),
    [("", "", "sendrecv"), ("", "a=sendonly\r\n", "sendonly"), ("a=sendrecv\r\n", "a=recvonly\r\n", "sendrecv")],
)
def test_a_direction_that_is_not_said_is_the_sessions_or_both_ways(
    of_the_line: str, of_the_session: str, taken: str
) -> None:
    text = offers.sdp(offers.AUDIO.replace("a=sendonly\r\n", of_the_line), session=of_the_session, bundle="0")
    assert Offer.parse(text).direction == taken


def test_a_session_that_does_not_send_has_no_line_that_does() -> None:
    text = offers.sdp(offers.AUDIO.replace("a=sendonly\r\n", ""), session="a=recvonly\r\n", bundle="0")
    with pytest.raises(SdpRejected, match="not sent"):
        Offer.parse(text)


def test_static_payload_types_need_no_line_of_their_own() -> None:
    """Alexa offers G.711 by number alone (RFC 3551 section 6)."""
    audio = offers.AUDIO.replace("SAVPF 111 0", "SAVPF 0 8 9 18").replace("a=rtpmap:0 PCMU/8000\r\n", "")
    offer = Offer.parse(offers.sdp(audio.replace("a=rtpmap:111", "a=rtpmap:5"), bundle="0"))
    assert offer.codecs == (Codec(0, "PCMU"), Codec(8, "PCMA"), Codec(9, "G722"))


@pytest.mark.parametrize("name", ["PCMU", "PCMA", "G722"])
def test_a_codec_of_one_channel_is_not_taken_with_two(name: str) -> None:
    """It was answered as mono, and its two channels heard one after the other, at half their speed."""
    audio = offers.AUDIO.replace("a=rtpmap:0 PCMU/8000", f"a=rtpmap:96 {name}/8000/2").replace(
        "SAVPF 111 0", "SAVPF 111 96"
    )
    offer = Offer.parse(offers.sdp(audio, bundle="0"))
    assert offer.codecs == (Codec(111, "OPUS"),)
    mono = Offer.parse(offers.sdp(audio.replace("/8000/2", "/8000/1"), bundle="0"))
    assert mono.codecs == (Codec(111, "OPUS"), Codec(96, name))


def test_what_is_said_of_the_session_counts_for_its_lines() -> None:
    lines = [
        line for line in offers.TRANSPORT.splitlines(keepends=True) if line.startswith(("a=ice", "a=fing", "a=set"))
    ]
    audio = offers.AUDIO
    for line in lines:
        audio = audio.replace(line, "")
    offer = Offer.parse(offers.sdp(audio, session="".join(lines) + "a=ice-lite\r\n", bundle="0"))
    assert offer.transport.ufrag == "abcd"
    assert offer.transport.ice_lite


def test_header_extensions_that_are_known_are_kept_once() -> None:
    extensions = (
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n"
        "a=extmap:4/sendonly urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
        "a=extmap:5 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
        "a=extmap:999 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
        "a=extmap:6 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n"
    )
    assert Offer.parse(offers.sdp(offers.AUDIO + extensions, bundle="0")).header_extensions == (
        HeaderExtension(1, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
        HeaderExtension(4, "urn:ietf:params:rtp-hdrext:sdes:mid"),
    )


USELESS = (
    "1 1 udp 2113937151 3c5d-1f.local 50000 typ host",
    "1 1 udp 2113937151 db.internal.example.org 5432 typ host",
    "2 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
    "3 2 udp 2113937150 192.0.2.1 50002 typ host",
    "4 1 udp 2113937150 192.0.2.1 0 typ host",
    "5 1 udp 2113937150 224.0.0.1 5000 typ host",
    "6 1 udp 2113937150 255.255.255.255 5000 typ host",
    "7 1 udp 2113937150 0.0.0.0 5000 typ host",
    "8 1 udp 2113937150 fe80::1%eth0 5000 typ host",
    "9 1 udp 2113937150 ::ffff:192.0.2.1 5000 typ host",
    "9 1 udp 2113937150 3221225985 5000 typ host",
    "",
)


def test_candidates_that_can_never_work_here_are_not_tried() -> None:
    """aioice would open a multicast socket for each .local name, which only the browser's own network knows."""
    good = "3 1 UDP 2113937151 192.0.2.1 50001 typ host generation 0 network-id 1"
    lines = "".join(f"a=candidate:{value}\r\n" for value in (*USELESS, good))
    expected = Candidate("3", 2113937151, "192.0.2.1", 50001, "host")
    assert Offer.parse(offers.sdp(offers.AUDIO + lines, bundle="0")).candidates == (expected,)
    fragment = Fragment.parse("a=ice-ufrag:abcd\r\nm=audio 9 x 0\r\na=mid:0\r\n" + lines)
    assert fragment.ufrags == ((None, "abcd"),)
    assert fragment.candidates == (("0", expected),)


def test_each_line_of_a_fragment_may_have_a_name_of_its_own_wherever_it_stands() -> None:
    """Without a bundle each line has its own; the last one of a fragment was taken for that of all."""
    audio = "m=audio 9 x 0\r\na=ice-ufrag:abcd\r\na=candidate:3 1 udp 9 192.0.2.1 50001 typ host\r\na=mid:0\r\n"
    data = "m=application 9 x 0\r\na=mid:1\r\na=ice-ufrag:efgh\r\na=candidate:3 1 udp 9 192.0.2.1 50002 typ host\r\n"
    fragment = Fragment.parse(audio + data)
    assert fragment.ufrags == (("0", "abcd"), ("1", "efgh"))
    assert [(mid, candidate.port) for mid, candidate in fragment.candidates] == [("0", 50001), ("1", 50002)]


def test_candidates_beyond_what_is_tried_are_ignored() -> None:
    lines = "".join(f"a=candidate:1 1 udp 1 192.0.2.1 {port} typ host\r\n" for port in range(1, 2000))
    assert len(Offer.parse(offers.sdp(offers.AUDIO + lines, bundle="0")).candidates) == MAX_CANDIDATES
    assert len(Fragment.parse("a=mid:0\r\n" + lines).candidates) == MAX_CANDIDATES


def test_candidates_of_all_lines_of_a_group_are_for_its_transport_and_no_others() -> None:
    offer = Offer.parse(offers.sdp(offers.AUDIO, offers.VIDEO, offers.DATA, bundle="1 0"))
    assert [offer.takes(mid) for mid in ("0", "1", "2", None)] == [True, True, False, True]
    alone = Offer.parse(offers.sdp(offers.AUDIO, offers.VIDEO))
    assert [alone.takes(mid) for mid in ("0", "1", None)] == [True, False, True]
    nameless = Offer.parse(offers.sdp(offers.AUDIO, has_mids=False))
    assert nameless.takes("0")


@pytest.mark.parametrize("newline", ["\n", "\r"])
def test_other_line_ends_are_read_too(newline: str) -> None:
    assert Offer.parse(offers.sdp(offers.AUDIO, bundle="0").replace("\r\n", newline)).transport.ufrag == "abcd"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (MAX_LINES * "a=ssrc:1 cname:x\r\n", f"more than {MAX_LINES} lines"),
        (MAX_LINES * "a=x\r", f"more than {MAX_LINES} lines"),
        ("a=" + MAX_LINE * "x" + "\r\n", f"more than {MAX_LINE} characters"),
        (MAX_MEDIA_LINES * offers.LEAN_VIDEO, f"more than {MAX_MEDIA_LINES} media lines"),
    ],
)
def test_an_offer_larger_than_any_has_to_be_is_told_so(more: str, says: str) -> None:
    with pytest.raises(SdpRejected, match=says) as caught:
        Offer.parse(offers.sdp(offers.AUDIO, bundle="0") + more)
    assert caught.value.code == "malformed_sdp"


def test_a_page_that_receives_two_hundred_videos_may_offer_them_all() -> None:
    assert len(Offer.parse(offers.sdp(offers.AUDIO, *[offers.LEAN_VIDEO] * 200, bundle="0")).lines) == 201


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        '{"candidate": "x"}',
        "a=candidate:1 1 udp x y z typ host",
        f"a=candidate:1 1 udp {'9' * 4000} 192.0.2.1 1 typ host",
        "a=" + MAX_LINE * "x",
        MAX_LINES * "a=x\n" + "a=x\na=x",
    ],
)
def test_what_is_no_fragment_is_malformed(text: str) -> None:
    with pytest.raises(SdpRejected) as caught:
        Fragment.parse(text)
    assert caught.value.code == "malformed_sdp"


def test_an_audio_line_that_is_not_rtp_is_malformed() -> None:
    """A space for a slash made the protocol a format, and the server's answer a 500."""
    offer = "v=0\r\nm=audio 9 UDP/TLS RTP/SAVPF 111\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
    with pytest.raises(SdpRejected, match="payload type") as caught:
        Offer.parse(offer)
    assert caught.value.code == "malformed_sdp"


def a_voice(mid: str, *lines: str) -> str:
    """An audio line of a room, with the header extension that names it."""
    audio = offers.AUDIO.replace("a=mid:0", f"a=mid:{mid}")
    return audio + "".join(f"{line}\r\n" for line in (f"a=extmap:4 {MID_EXTENSION}", *lines))


def a_titled_voice(mid: str, title: str) -> str:
    return a_voice(mid).replace("\r\nc=", f"\r\ni={title}\r\nc=", 1)


def test_each_audio_line_of_the_bundle_that_sends_is_a_voice() -> None:
    offer = Offer.parse(
        offers.sdp(
            a_voice("a", "a=msid:stream-1 track-1"),
            offers.VIDEO.replace("a=mid:1", "a=mid:v"),
            a_voice("b").replace("sendonly", "recvonly"),
            a_voice("c").replace("m=audio 9", "m=audio 0"),
            a_titled_voice("d", "  Zoë Łęcka "),
            a_voice("e", "a=msid:- track-2"),
            a_voice("f"),
            bundle="a v b d e",
        )
    )
    assert offer.is_room
    assert [(voice.index, voice.mid, voice.name) for voice in offer.voices] == [
        (0, "a", "stream-1"),
        (4, "d", "Zoë Łęcka"),
        (5, "e", None),
    ]
    assert offer.mid_extension == 4


def test_one_line_is_a_room_only_with_a_title() -> None:
    assert not Offer.parse(offers.sdp(a_voice("a", "a=msid:s t"), bundle="a")).is_room
    assert not Offer.parse(offers.sdp(offers.AUDIO)).is_room
    assert Offer.parse(offers.sdp(a_titled_voice("a", "alice"), bundle="a")).is_room
    # The title of the whole session is none of its only line's.
    assert not Offer.parse(offers.sdp(a_voice("a"), bundle="a", session="i=A seminar\r\n")).is_room


def test_a_line_of_no_codec_that_is_known_is_no_voice() -> None:
    other = a_voice("b").replace("opus/48000/2", "lyra/16000").replace("PCMU", "L16")
    assert len(Offer.parse(offers.sdp(a_voice("a"), other.replace(" 111 0", " 111 96"), bundle="a b")).voices) == 1


def test_a_long_title_is_cut() -> None:
    offer = Offer.parse(offers.sdp(a_titled_voice("a", "x" * 1000), bundle="a"))
    assert offer.voices[0].name == "x" * MAX_NAME


def test_more_voices_than_a_call_takes_are_refused() -> None:
    mids = [str(number) for number in range(100)]
    with pytest.raises(SdpRejected, match="100 audio lines, and a call takes 8 voices") as refusal:
        Offer.parse(offers.sdp(*map(a_voice, mids), bundle=" ".join(mids)))
    assert refusal.value.code == "too_many_voices"
    Offer.parse(offers.sdp(*map(a_voice, mids[:MAX_VOICES]), bundle=" ".join(mids)))


def test_an_ssrc_of_two_lines_belongs_to_neither() -> None:
    offer = Offer.parse(
        offers.sdp(a_voice("a", "a=ssrc:7 cname:x", "a=ssrc:8 cname:x"), a_voice("b", "a=ssrc:7 cname:y"), bundle="a b")
    )
    assert [voice.ssrcs for voice in offer.voices] == [(8,), ()]


@pytest.mark.parametrize("value", ["", "x", "99999999999", "-1 cname:x", "4294967296 cname:x"])
def test_an_ssrc_that_is_none_is_passed_over(value: str) -> None:
    assert Offer.parse(offers.sdp(a_voice("a", f"a=ssrc:{value}"), a_voice("b"), bundle="a b")).voices[0].ssrcs == ()


def test_lines_that_cannot_be_told_apart_are_refused() -> None:
    plain = [offers.AUDIO.replace("a=mid:0", f"a=mid:{mid}") for mid in "ab"]
    with pytest.raises(SdpRejected, match="cannot be told apart"):
        Offer.parse(offers.sdp(*plain, bundle="a b"))
    Offer.parse(offers.sdp(*(line + f"a=ssrc:{n} cname:x\r\n" for n, line in enumerate(plain)), bundle="a b"))
    apart = plain[1].replace("111 0", "112").replace(":111", ":112").replace("a=rtpmap:0 PCMU/8000\r\n", "")
    Offer.parse(offers.sdp(plain[0], apart, bundle="a b"))


def test_a_header_extension_has_one_number_in_a_bundle() -> None:
    with pytest.raises(SdpRejected, match="one a=extmap number"):
        Offer.parse(offers.sdp(a_voice("a"), a_voice("b").replace("extmap:4", "extmap:5"), bundle="a b"))


def test_the_data_channels_of_a_room_take_its_names() -> None:
    small = offers.DATA + "a=max-message-size:2000\r\n"
    Offer.parse(offers.sdp(a_voice("0"), small, bundle="0 2"))
    with pytest.raises(SdpRejected, match="max-message-size of 4096"):
        Offer.parse(offers.sdp(a_voice("0"), a_voice("1"), small, bundle="0 1 2"))
