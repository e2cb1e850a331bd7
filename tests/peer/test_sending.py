"""Packets written to an RTP stream, as a plain aiortc peer receives them."""

import asyncio

from tests.peer.written import a_call


async def test_written_packets_are_heard_by_aiortc_and_told_in_sender_reports() -> None:
    async with a_call() as (_, writer, heard):
        for number in range(3):
            writer.write(b"payload %d" % number, number * 960)
        packets = [await heard.packets.get() for _ in range(3)]
        report = await heard.reports.get()
        while not report.sender_info.packet_count:
            report = await heard.reports.get()

    assert [packet.payload for packet in packets] == [b"payload 0", b"payload 1", b"payload 2"]
    first = packets[0]
    assert [packet.sequence_number - first.sequence_number for packet in packets] == [0, 1, 2]
    assert [(packet.timestamp - first.timestamp) % 2**32 for packet in packets] == [0, 960, 1920]
    assert {packet.extensions.mid for packet in packets} == {"0"}
    assert {packet.ssrc for packet in packets} == {report.ssrc}
    assert report.sender_info.rtp_timestamp == first.timestamp
    assert report.sender_info.ntp_timestamp > 0
    assert report.sender_info.octet_count == len(b"payload 0")


async def test_sequence_numbers_go_round() -> None:
    async with a_call() as (_, writer, heard):
        writer._sequence_number = 0xFFFF
        writer._timestamp_origin = 2**32 - 960
        for number in range(2):
            writer.write(b"x", number * 960)
        packets = [await heard.packets.get() for _ in range(2)]

    assert [(packet.sequence_number, packet.timestamp) for packet in packets] == [(0xFFFF, 2**32 - 960), (0, 0)]


async def test_what_is_written_after_the_end_is_lost_and_no_error() -> None:
    async with a_call() as (caller, writer, heard):
        await caller.close()
        writer.write(b"too late", 0)

    assert heard.packets.empty()


async def test_a_stopped_sender_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with a_call():
        pass
    assert not [task for task in asyncio.all_tasks() - before if "_run_rtp" in repr(task) and not task.done()]
