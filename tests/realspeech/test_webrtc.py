"""Real voices through the whole way: Opus over WebRTC, the real server, messages on the data channel."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.rtc import a_server
from voxgender.engine import Engine
from voxgender.engine.files import classify_file
from voxgender.inference.loading import load
from voxgender.peer.caller import Caller
from voxgender.peer.report import Report
from voxgender.peer.speech import from_file
from voxgender.protocol import Segment
from voxgender.training.manifest import Clip, read_manifest, with_split


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(load("embedded", threads=1))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def dev(speech: Path) -> list[Clip]:
    return with_split(read_manifest(speech / "manifest.csv"), "dev")


async def calls(engine: Engine, clips: list[Clip]) -> list[Report]:
    """Play all clips at once, one call each, to one server."""
    async with a_server(engine) as server:
        return await asyncio.gather(*(Caller(server.url, from_file(clip.path)).run() for clip in clips))


def most(segments: Iterable[Segment]) -> str | None:
    """The voice of most of the time; None where none is sure."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for segment in segments:
        if segment.label != "uncertain":
            seconds[segment.label] += segment.end - segment.start
    return max(seconds, key=seconds.__getitem__, default=None)


def heard(report: Report) -> str | None:
    """The voice of most of a call's speech."""
    summary = report.summary
    assert summary is not None
    if summary.male == summary.female:
        return None
    return "male" if summary.male > summary.female else "female"


async def test_a_call_hears_what_the_same_file_is_classified_as(engine: Engine, dev: list[Clip]) -> None:
    """`classify` and live calls agree, because they come from the same pipeline."""
    # The longest of each corpus and voice: seconds of speech, so that where windows begin does not tip the scales.
    clips = [
        max(
            (clip for clip in dev if (clip.corpus, clip.label) == (corpus, label)),
            key=lambda clip: clip.path.stat().st_size,
        )
        for corpus in ("librispeech-test-other", "nemo")
        for label in ("male", "female")
    ]
    offline = [classify_file(engine, clip.path) for clip in clips]
    reports = await calls(engine, clips)
    # Readers are plain; of an actor's sob, where windows begin decides.
    assert [heard(report) for report in reports[:2]] == [clip.label for clip in clips[:2]]
    assert [most(classification.segments) for classification in offline[:2]] == [clip.label for clip in clips[:2]]
    for report, classification in zip(reports, offline, strict=True):
        assert report.summary is not None
        assert report.summary.speech == pytest.approx(classification.speech_s, rel=0.15)


async def test_noise_gets_no_gender(engine: Engine, dev: list[Clip]) -> None:
    """The old design gave noise a gender."""
    kinds = {clip.path.stem.rpartition("-")[2]: clip for clip in dev if clip.label == "noise"}
    reports = await calls(engine, list(kinds.values()))
    durations = [report.summary.duration for report in reports if report.summary is not None]
    gendered = [report.summary.male + report.summary.female for report in reports if report.summary is not None]
    assert len(durations) == len(kinds)
    assert sum(gendered) <= 0.01 * sum(durations)
