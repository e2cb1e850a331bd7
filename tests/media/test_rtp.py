"""RTP and RTCP on the wire, beside what aiortc makes of the same bytes."""

import pytest
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import (
    HeaderExtensionsMap,
    RtcpByePacket,
    RtcpPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    RtpPacket,
)

from voxgender.media.rtp import (
    Goodbye,
    Reception,
    Rtp,
    SenderReport,
    is_rtcp,
    parse_rtcp,
    parse_rtp,
    receiver_report,
)

RATE_HZ = 48_000
STEP = 1_920


@pytest.mark.parametrize(
    "packet",
    [
        RtpPacket(payload_type=96, sequence_number=65_535, timestamp=4_294_967_295, ssrc=7, payload=b"voice"),
        RtpPacket(payload_type=0, marker=1, payload=b""),
    ],
)
def test_packets_are_read_as_aiortc_reads_them(packet: RtpPacket) -> None:
    packet.csrc = [1, 2, 3]
    packet.padding_size = 4
    packet.extensions.mid = "0"
    extensions = HeaderExtensionsMap()
    extensions.configure(
        RTCRtpParameters(
            headerExtensions=[RTCRtpHeaderExtensionParameters(id=1, uri="urn:ietf:params:rtp-hdrext:sdes:mid")]
        )
    )
    data = packet.serialize(extensions)
    theirs = RtpPacket.parse(data, extensions)
    assert parse_rtp(data, 1) == (
        theirs.payload_type, theirs.sequence_number, theirs.timestamp, theirs.ssrc, theirs.payload, "0"
    )  # fmt: skip
    assert parse_rtp(data).mid == parse_rtp(data, 2).mid == ""


@pytest.mark.parametrize(
    ("extension", "mid"),
    [
        (b"\xbe\xde\x00\x02\x00\x21ab\x10\x37\x00\x00", "ab"),  # padding first, then id 2 of two bytes
        (b"\x10\x00\x00\x02\x01\x01x\x02\x03abc\x00\x00\x00"[:12], "abc"),
        (b"\xbe\xde\x00\x01\xf0\x20a\x00", ""),  # 15 ends the list
        (b"\xbe\xde\x00\x01\x2fabc", "abc"),  # longer than there is
        (b"\x10\x00\x00\x01\x00\x00\x00\x02", ""),  # no length
        (b"\x12\x34\x00\x01\x20a\x00\x00", ""),  # of another kind
        (b"\xbe\xde\x00\x01\x20\xff\x00\x00", "\ufffd"),
        (b"\xbe\xde\x00\x00", ""),
    ],
)
def test_the_name_of_a_media_line_is_read_from_header_extensions_of_either_form(extension: bytes, mid: str) -> None:
    header = bytes([0x90, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3])
    packet = parse_rtp(header + extension + b"voice", 2)
    assert packet.mid == mid
    assert packet.payload == b"voice"


@pytest.mark.parametrize(
    "data",
    [
        bytes([0x90, 96]) + bytes(10),  # an extension that is not there
        bytes([0x90, 96]) + bytes(12) + b"\x00\x09",  # one that is longer than the packet
        bytes([0x8F, 96]) + bytes(10),  # 15 CSRCs that are not there
        bytes([0xA0, 96]) + bytes(9) + b"\xff",  # more padding than packet
    ],
)
def test_a_packet_shorter_than_it_says_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        parse_rtp(data)


SENDER = RtcpSrPacket(
    ssrc=7,
    sender_info=RtcpSenderInfo(ntp_timestamp=0x0123_4567_89AB_CDEF, rtp_timestamp=1, packet_count=2, octet_count=3),
    reports=[],
)


def test_of_a_compound_packet_the_senders_report_and_goodbyes_are_read() -> None:
    source = RtcpSdesPacket(chunks=[RtcpSourceInfo(ssrc=7, items=[(1, b"somebody")])])
    data = bytes(SENDER) + bytes(source) + bytes(RtcpByePacket(sources=[7, 8]))
    assert is_rtcp(data)
    assert list(parse_rtcp(data)) == [SenderReport(7, 0x4567_89AB), Goodbye((7, 8))]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(SENDER)[:20],  # cut off
        bytes([0x80, 200, 0, 1, 0, 0, 0, 7]),  # a sender's report with no report in it
        bytes([0x9F, 203, 0, 0]),  # 31 sources that are not there
        bytes([0x80, 204, 0xFF, 0xFF]),
    ],
)
def test_what_is_cut_off_or_something_else_is_passed_over(data: bytes) -> None:
    assert [packet for packet in parse_rtcp(data) if packet != Goodbye(())] == []


def packet(number: int, *, timestamp: int | None = None) -> Rtp:
    return Rtp(96, number & 0xFFFF, (number * STEP if timestamp is None else timestamp) & 0xFFFF_FFFF, 7, b"")


def take(reception: Reception, *numbers: int, late_s: float = 0.0) -> None:
    for number in numbers:
        reception.count(packet(number), number * STEP / RATE_HZ + late_s)


def report(reception: Reception, now: float = 0.0) -> RtcpReceiverInfo:
    (read,) = RtcpPacket.parse(receiver_report(1, {7: reception}, now))
    assert isinstance(read, RtcpRrPacket)
    assert read.ssrc == 1
    (info,) = read.reports
    assert info.ssrc == 7
    return info


def test_a_report_about_no_stream_is_one_all_the_same() -> None:
    (read,) = RtcpPacket.parse(receiver_report(1, {}, 0.0))
    assert read == RtcpRrPacket(ssrc=1, reports=[])


def test_all_that_came_is_reported_as_that_past_the_wrap_of_sequence_numbers() -> None:
    reception = Reception(RATE_HZ)
    take(reception, *range(65_530, 65_546))
    assert report(reception) == RtcpReceiverInfo(
        ssrc=7, fraction_lost=0, packets_lost=0, highest_sequence=65_545, jitter=0, lsr=0, dlsr=0
    )


def test_losses_are_reported_in_all_and_as_a_share_since_the_last_report() -> None:
    reception = Reception(RATE_HZ)
    take(reception, *(number for number in range(100) if number % 4))
    # The first packet of all was lost, too: nobody knows of that one.
    first = report(reception)
    assert (first.packets_lost, first.fraction_lost) == (24, 24 * 256 // 99)
    take(reception, *range(100, 200))
    second = report(reception)
    assert (second.packets_lost, second.fraction_lost) == (24, 0)
    assert report(reception).fraction_lost == 0


def test_what_was_overtaken_or_came_twice_is_no_loss() -> None:
    reception = Reception(RATE_HZ)
    take(reception, 0, 2, 1, 3, 3, 3)
    assert report(reception).packets_lost == -2
    assert report(reception).highest_sequence == 3


def test_jitter_is_the_deviation_between_arrivals_in_ticks() -> None:
    steady, uneven = Reception(RATE_HZ), Reception(RATE_HZ)
    for number in range(200):
        steady.count(packet(number), number * 0.04 + 0.5)
        uneven.count(packet(number), number * 0.04 + (0.01 if number % 2 else 0.0))
    assert report(steady).jitter == 0
    assert report(uneven).jitter == pytest.approx(480, abs=2)


def test_the_senders_report_is_given_back_with_the_time_since_it_came() -> None:
    reception = Reception(RATE_HZ)
    take(reception, 0)
    reception.sender_reported(SenderReport(7, 0x4567_89AB), 10.0)
    info = report(reception, 10.5)
    assert (info.lsr, info.dlsr) == (0x4567_89AB, 32_768)


def test_a_sender_that_starts_over_is_counted_anew() -> None:
    reception = Reception(RATE_HZ)
    take(reception, *range(10))
    report(reception)
    take(reception, *range(30_000, 30_010))
    info = report(reception)
    assert (info.packets_lost, info.highest_sequence) == (0, 30_009)
