"""Run `voxgender call`, `listen` and `load`, and print their outcomes."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TextIO

import msgspec

from voxgender.audiostream import StreamFormat
from voxgender.peer import speech
from voxgender.peer.audiosource import FileSource, RawSource
from voxgender.peer.caller import Caller, CallLost
from voxgender.peer.faults import Faults, FaultyLink
from voxgender.peer.interrupt import interruptible
from voxgender.peer.listen import ListenClient
from voxgender.peer.load import Transport
from voxgender.peer.load import load as place_load
from voxgender.peer.loadreport import LoadReport, Progress
from voxgender.peer.printers import ERASE_LINE, JsonPrinter, Printer, TextPrinter
from voxgender.peer.report import Report
from voxgender.peer.sentences import load_sentences, progress_line, side, summed
from voxgender.peer.speech import Speech
from voxgender.protocol import AnyMessage, Summary

if TYPE_CHECKING:
    from voxgender.peer.route import Route

OUTAGE_AFTER_S = 5.0
"""Time from the connection to the outage: half-way through the test signal."""

_NO_FAULTS = Faults()


async def call(
    url: str,
    *,
    audio: Path | None = None,
    voices: Mapping[str, Path] | None = None,
    token: str | None = None,
    query: Mapping[str, str] = MappingProxyType({}),
    duration_s: float | None = None,
    relay_only: bool = False,
    faults: Faults = _NO_FAULTS,
    json: bool = False,
    out: TextIO | None = None,
) -> Report:
    """Call a server, and print its messages as they come. Ctrl-C hangs up in good order.

    Args:
        url: the server, ``http://host:port`` or its ``…/whip``.
        audio: a file to play; by default the synthesised test signal.
        voices: for a room, the file of each voice by its name.
        query: options of the call.
        duration_s: hang up after so many seconds of audio.
        relay_only: use the server's TURN server and no other path, as behind a strict firewall.
        faults: faults of the network; an outage begins five seconds after the connection.
        json: print one JSON object a line instead of text.

    Raises:
        AudioError: the file cannot be read.
        CallError: the call could not be placed, or was lost; the report is printed all the same.
    """
    out = out or sys.stdout
    printer: Printer = JsonPrinter(out) if json else TextPrinter(out)
    words: Speech | dict[str, Speech]
    if voices:
        words = {name: await _read(file, faults.loss) for name, file in voices.items()}
    elif audio is not None:
        words = await _read(audio, faults.loss)
    else:
        words = await asyncio.to_thread(speech.synthesised, loss=faults.loss)
    link = FaultyLink(faults, outage_after_s=OUTAGE_AFTER_S) if faults.any else None
    route: Route = "relay" if relay_only else "any"
    caller = Caller(url, words, token=token, query=query, duration_s=duration_s, route=route, link=link)
    with interruptible(caller.hang_up):
        try:
            report = await caller.run(printer.message)
        except CallLost as error:
            printer.report(error.report)
            raise
    printer.report(report)
    return report


async def _read(file: Path, loss: float) -> Speech:
    return await speech.in_thread(partial(speech.from_file, file, loss))


async def listen(
    url: str,
    file: Path,
    *,
    raw: StreamFormat,
    apart: bool = False,
    token: str | None = None,
    query: Mapping[str, str] = MappingProxyType({}),
    json: bool = False,
    out: TextIO | None = None,
) -> None:
    """Stream a file, or stdin, to a server as fast as it takes it, and print its messages. Ctrl-C ends in good order.

    Args:
        url: the server, ``http://host:port``.
        file: a file in any format that FFmpeg reads; ``-`` for stdin.
        raw: format of stdin.
        apart: whether each channel of a file is judged apart; they are mixed otherwise.
        query: options of the call.
        json: print one JSON object a line instead of text.

    Raises:
        AudioError: the file cannot be read.
        CallError: the server is not there, refuses, or ends the stream.
    """
    out = out or sys.stdout
    printer: Printer = JsonPrinter(out) if json else TextPrinter(out)
    is_raw = str(file) == "-"
    source: RawSource | FileSource
    if is_raw:
        source = RawSource(sys.stdin.buffer, raw)
    else:
        source = await asyncio.to_thread(FileSource, file, apart=apart)
    summaries: list[Summary] = []

    def on_message(message: AnyMessage) -> None:
        printer.message(message)
        if isinstance(message, Summary):
            summaries.append(message)

    async with ListenClient(url, token=token, query=query) as client:
        finish = asyncio.Event()
        with interruptible(finish.set):
            await client.stream(source.form, source.chunks(), on_message, finish)
    if not json:
        print("", *(side(summary) + summed(summary) for summary in summaries), sep="\n", file=out, flush=True)


async def load(
    url: str,
    *,
    peers: int,
    seconds: float,
    audio: Sequence[Path] = (),
    token: str | None = None,
    transport: Transport = "webrtc",
    allow_remote: bool = False,
    faults: Faults = _NO_FAULTS,
    json: bool = False,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> LoadReport:
    """Load a server with many callers, and print the report; show the progress on ``err`` if that is a terminal.

    For the parameters and errors see :func:`voxgender.peer.load.load`.
    """
    out, err = out or sys.stdout, err or sys.stderr
    live = err.isatty()

    def show(progress: Progress) -> None:
        if live:
            print(f"{ERASE_LINE}{progress_line(progress, peers, seconds)}", end="", file=err, flush=True)

    try:
        report = await place_load(
            url,
            peers=peers,
            seconds=seconds,
            audio=audio,
            token=token,
            transport=transport,
            allow_remote=allow_remote,
            faults=faults,
            on_progress=show,
        )
    finally:
        if live:
            print(ERASE_LINE, end="", file=err, flush=True)
    lines = [msgspec.json.encode(report).decode()] if json else load_sentences(report)
    for line in lines:
        print(line, file=out, flush=True)
    return report
