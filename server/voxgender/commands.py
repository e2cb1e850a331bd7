"""Define the commands of ``voxgender``: one function each, whose only parameter declares the command's options."""

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine, Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from voxgender import logs
from voxgender.audiostream import StreamFormat
from voxgender.console import fail, printable
from voxgender.errors import AudioError, ManifestError
from voxgender.peer.options import CallSettings, ListenSettings, LoadSettings
from voxgender.settings import (
    BenchModelSettings,
    ClassifySettings,
    DoctorSettings,
    LogOptions,
    MediaSettings,
    PoolSettings,
    ServeSettings,
    SignalingSettings,
)
from voxgender.training.options import EvaluateOptions, ExportOptions, TrainOptions

if TYPE_CHECKING:
    from voxgender.roles.running import Role

T = TypeVar("T")


def serve(settings: ServeSettings) -> int:
    """Serve the page, signaling and media in one process."""
    role: Role
    if settings.processes.workers > 1:
        from voxgender.roles.workers import WithWorkers

        role = WithWorkers(settings)
    else:
        from voxgender.roles.serve import Standalone

        role = Standalone(settings)
    return _run_role(role, settings.log, "voxgender is ready: open {}")


def signaling(settings: SignalingSettings) -> int:
    """Serve the page and signaling, in front of media nodes."""
    from voxgender.roles.signaling import Signaling

    return _run_role(Signaling(settings), settings.log, "voxgender signaling is ready: open {}")


def media(settings: MediaSettings) -> int:
    """Take calls from signaling, as one of many media nodes."""
    from voxgender.fleet.secret import Secret
    from voxgender.roles.media import Media
    from voxgender.roles.serve import make_classifier, make_engine

    role = Media(settings, make_engine, Secret(settings.fleet.secret), make_classifier=make_classifier)
    return _run_role(role, settings.log, "voxgender media is ready: signaling reaches it at {}")


def pool(settings: PoolSettings) -> int:
    """Run the model alone on Ray Serve, for media nodes with --inference."""
    from voxgender.roles.pool import Pool

    return _run_role(Pool(settings), settings.log, "voxgender pool is ready: media nodes reach it by --inference {}")


def doctor(settings: DoctorSettings) -> int:
    """Examine this machine and a server's options, and say what to do."""
    from voxgender.doctor.examination import examine
    from voxgender.doctor.finding import Finding, as_json, has_failed

    _raise_interrupts()

    async def run() -> list[Finding]:
        found = []
        async for finding in examine(settings):
            found.append(finding)
            if not settings.json:
                print(finding, flush=True)
        return found

    found = asyncio.run(run())
    if settings.json:
        print(as_json(found))
    return int(has_failed(found))


def call(settings: CallSettings) -> int:
    """Place one call, of one voice or of several, and print the labels live."""
    from voxgender.peer import terminal

    _run(
        terminal.call(
            settings.url,
            audio=settings.audio,
            voices=settings.files,
            token=settings.auth.token,
            query=settings.session.query,
            relay_only=settings.relay_only,
            faults=settings.faults,
            json=settings.json,
        )
    )
    return 0


def listen(settings: ListenSettings) -> int:
    """Stream a file, or audio from stdin, over a WebSocket as fast as it is taken, and print the labels."""
    from voxgender.peer import terminal

    _run(
        terminal.listen(
            settings.url,
            settings.file,
            raw=StreamFormat(encoding=settings.encoding, rate_hz=settings.rate, channels=settings.channels),
            apart=settings.apart,
            token=settings.auth.token,
            query=settings.session.query,
            json=settings.json,
        )
    )
    return 0


def load(settings: LoadSettings) -> int:
    """Place many calls at once, to measure a server of your own."""
    from voxgender.peer import terminal

    _run(
        terminal.load(
            settings.url,
            peers=settings.peers,
            seconds=settings.seconds,
            audio=settings.audio,
            token=settings.auth.token,
            transport=settings.transport,
            allow_remote=settings.allow_remote,
            faults=settings.faults,
            json=settings.json,
        )
    )
    return 0


def classify(settings: ClassifySettings) -> int:
    """Label audio files by the same pipeline as live calls."""
    from voxgender.engine.files import classify_file
    from voxgender.roles.serve import make_engine

    _raise_interrupts()
    engine = make_engine(settings.model)
    failed = False
    try:
        for path in settings.files:
            try:
                classification = classify_file(engine, path)
            except AudioError as error:
                fail(error, 1)
                failed = True
                continue
            if settings.json:
                print(json.dumps({"file": str(path), **classification.to_dict()}), flush=True)
            else:
                print(f"{printable(str(path))}: {classification}", flush=True)
    finally:
        engine.close()
    return int(failed)


def evaluate(settings: EvaluateOptions) -> int:
    """Measure a model's accuracy on labelled recordings."""
    from voxgender.roles.serve import make_engine
    from voxgender.training.evaluate import as_dict, as_table, tabulated
    from voxgender.training.evaluate import evaluate as outcomes_of
    from voxgender.training.manifest import read_manifest, with_split

    _raise_interrupts()
    clips = [clip for clip in read_manifest(settings.manifest) if clip.label]
    if settings.split is not None:
        clips = with_split(clips, settings.split)
    if not clips:
        raise ManifestError(f"{settings.manifest}: no labelled rows to evaluate")
    engine = make_engine(settings.model)
    try:
        outcomes = list(_with_progress(outcomes_of(clips, engine), len(clips), "file"))
    finally:
        engine.close()
    figures = tabulated(outcomes)
    print(json.dumps({"model": engine.model, **as_dict(figures)}) if settings.json else as_table(figures))
    return 0


def bench_model(settings: BenchModelSettings) -> int:
    """Measure a model in each runtime that is installed here."""
    from voxgender.engine.files import speech_windows
    from voxgender.inference.benchmark import as_table, jobs, measure
    from voxgender.peer.voices import dialogue

    _raise_interrupts()
    windows = speech_windows(settings.files or [dialogue(turn_s=6.0).samples])
    todo = jobs(settings.model, windows, revision=settings.revision, device=settings.device, seconds=settings.seconds)
    measured = list(_with_progress(measure(todo), len(todo), "run"))
    if settings.json:
        runs = [one.to_dict() for one in measured]
        print(json.dumps({"model": settings.model, "windows": len(windows), "runs": runs}))
    else:
        print(as_table(measured, len(windows)))
    return 0


def train(settings: TrainOptions) -> int:
    """Train a compact wav2vec2 on recordings of your own."""
    if find_spec("pyworld") is None:
        # It tells the extra that brings all of it, where the first module that is missed would tell its own.
        raise ModuleNotFoundError(name="pyworld")

    from voxgender.training.train import train as run_training

    _raise_interrupts()
    trained = run_training(settings)
    print(f"trained for {trained.step} steps; next: voxgender export {settings.out} DIR")
    return 0


def export(settings: ExportOptions) -> int:
    """Write the best weights of a training as a checkpoint of transformers."""
    if find_spec("torch") is None:
        # As of pyworld above: its extra brings the others.
        raise ModuleNotFoundError(name="torch")

    from voxgender.training.export import export as write_checkpoint

    _raise_interrupts()
    write_checkpoint(settings.training, settings.out)
    print(f"written; next: voxgender serve --model {settings.out}")
    return 0


COMMANDS: dict[str, Callable[[Any], int]] = {
    command.__name__.replace("_", "-"): command
    for command in (
        serve,
        signaling,
        media,
        pool,
        doctor,
        call,
        listen,
        load,
        classify,
        evaluate,
        train,
        export,
        bench_model,
    )
}


def _with_progress(items: Iterable[T], count: int, unit: str) -> Iterable[T]:
    """Yield from items, with a bar in a terminal where tqdm is there, which an extra for training brings."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return items
    bar: Iterable[T] = tqdm(items, total=count, unit=unit, disable=None)
    return bar


def _run_role(role: "Role", log: LogOptions, ready: str) -> int:
    from voxgender.roles.hosting import ended
    from voxgender.roles.running import run

    logs.start(log.log_level)
    try:
        _run(run(role, lambda url: print(ready.format(url), flush=True)))
    finally:
        ended()
    return 0


def _run(main: Coroutine[Any, Any, T]) -> T:
    try:
        import uvloop
    except ImportError:
        run = asyncio.run
    else:
        run = uvloop.run
    _raise_interrupts()
    return run(main)


def _raise_interrupts() -> None:
    """Let SIGINT raise ``KeyboardInterrupt`` from now on, so that what is under way is ended well.

    Before, while modules are loaded, it ends the process: native ones turn the exception into errors of their own.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
