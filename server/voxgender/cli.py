"""``voxgender``: one subcommand a role."""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from voxgender import __version__, settings
from voxgender.errors import AudioError, ManifestError, SettingsError, VoxgenderError
from voxgender.peer import options
from voxgender.peer.faults import Faults
from voxgender.settings import Settings

if TYPE_CHECKING:
    from voxgender.roles.running import Role

T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; exit status 0 on success, 2 on bad usage, 1 on failure with one line on stderr."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    try:
        run: Callable[[argparse.Namespace], int] = arguments.run
        return run(arguments)
    except SettingsError as error:
        return _fail(error, 2)
    except VoxgenderError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="voxgender", description="Tells, live, whether the voice speaking now is heard as male or female."
    )
    parser.add_argument("--version", action="version", version=f"voxgender {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    for role, run, purpose in (
        ("serve", _serve, "serve the page, signaling and media, all in one"),
        ("signaling", _signaling, "serve the page and signaling, in front of media nodes"),
        ("media", _media, "take calls that signaling sends, as one media node of many"),
    ):
        server = commands.add_parser(role, help=purpose)
        for name in settings.fields():
            if role in (settings.commands(name) or (role,)):
                _add_option(server, name, role)
        server.set_defaults(run=run, command=role)

    call = commands.add_parser("call", help="play a file as one caller and print the live text stream")
    call.add_argument("url", metavar="URL", help="the server, as http://localhost:8080")
    call.add_argument("--audio", type=Path, metavar="FILE", help="what to say (default: a man, a pause, a woman)")
    _add_token(call)
    _add_faults(call)
    call.add_argument("--relay-only", action="store_true", help="go by the server's TURN server, and no other way")
    call.add_argument("--json", action="store_true", help="one JSON object a line: every message, then a report")
    call.set_defaults(run=_call)

    load = commands.add_parser("load", help="place many calls at once on a server of one's own")
    load.add_argument("url", metavar="URL")
    load.add_argument("--peers", metavar="N", help="calls at once (default: 10)")
    load.add_argument("--seconds", metavar="S", help="how long they last, all up (default: 10)")
    load.add_argument(
        "--audio",
        type=Path,
        action="append",
        metavar="FILE",
        help="what to say; may be repeated (default: synthesised)",
    )
    _add_token(load)
    _add_faults(load)
    load.add_argument("--allow-remote", action="store_true", help="load a server that is not on this machine")
    load.add_argument("--json", action="store_true", help="print the report as JSON")
    load.set_defaults(run=_load)

    classify = commands.add_parser("classify", help="label audio files by the same pipeline, offline")
    classify.add_argument("files", nargs="+", type=Path, metavar="FILE", help="any audio file that FFmpeg reads")
    classify.add_argument("--json", action="store_true", help="one JSON object a file and line")
    _add_model(classify)
    classify.set_defaults(run=_classify)

    evaluate = commands.add_parser("evaluate", help="how often a model is right on labelled recordings")
    evaluate.add_argument("manifest", type=Path, metavar="MANIFEST.csv", help="columns path,label[,corpus,split,...]")
    evaluate.add_argument("--split", help="only rows of this split (default: all rows)")
    evaluate.add_argument("--json", action="store_true", help="print the figures as JSON")
    _add_model(evaluate)
    evaluate.set_defaults(run=_evaluate)

    train = commands.add_parser("train", help="train a compact wav2vec2 on recordings of one's own")
    train.add_argument("manifest", type=Path, metavar="MANIFEST.csv", help="columns path,label[,split,speaker,corpus]")
    train.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the run; resumes what is there"
    )
    for name, kind in (
        ("steps", int),
        ("batch", int),
        ("crops", int),
        ("teachers", int),
        ("workers", int),
        ("threads", int),
        ("seed", int),
    ):
        train.add_argument(f"--{name}", type=kind, metavar="N")
    train.add_argument("--cache", type=Path, metavar="DIR", help="folder for prepared audio")
    train.add_argument("--kept-out", metavar="CORPUS", help="tell how this corpus does, and choose by the others")
    train.add_argument("--device", help="cpu or cuda")
    train.set_defaults(run=_train)

    export = commands.add_parser("export", help="write a training's best weights as a transformers checkpoint")
    export.add_argument("training", type=Path, metavar="RUN", help="the folder given to train --out")
    export.add_argument("out", type=Path, metavar="DIR", help="folder to write, for --model DIR")
    export.set_defaults(run=_export)
    return parser


def _add_token(parser: argparse.ArgumentParser) -> None:
    variable = f"{settings.PREFIX}TOKEN"
    parser.add_argument(
        "--token", default=os.environ.get(variable), help=f"bearer token, where the server wants one (or {variable})"
    )


def _add_faults(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a bad network on the way to the server")
    for name, meta in options.described(Faults).items():
        flag, unit = f"--{name.replace('_', '-')}", "MS" if name.endswith("_ms") else "N"
        group.add_argument(flag, metavar=unit, help=meta.description.replace("%", "%%") if meta.description else None)


def _add_model(parser: argparse.ArgumentParser) -> None:
    for name in ("model", "inference_threads", "precision", "device"):
        _add_option(parser, name)


def _add_option(parser: argparse.ArgumentParser, name: str, command: str = "") -> None:
    """An option of ``Settings`` as a flag; its value is checked where all are."""
    meta, default = settings.fields()[name], settings.default(name, command)
    shown = (
        "" if default in ((), "") else f" (default: {', '.join(default) if isinstance(default, tuple) else default})"
    )
    parser.add_argument(
        f"--{name.replace('_', '-')}",
        action="append" if settings.is_list(name) else "store",
        metavar=name.rpartition("_")[2].upper(),
        help=f"{meta.description}{shown}",
    )


def _load_settings(arguments: argparse.Namespace) -> Settings:
    given = vars(arguments)
    flags = {name: given[name] for name in settings.fields() if name in given}
    return Settings.load(flags, command=given.get("command", ""))


def _load_server_settings(arguments: argparse.Namespace) -> Settings:
    loaded = _load_settings(arguments)
    logging.getLogger("voxgender").setLevel(loaded.log_level.upper())
    return loaded


def _serve(arguments: argparse.Namespace) -> int:
    loaded = _load_server_settings(arguments)
    role: Role
    if loaded.workers > 1:
        from voxgender.roles.workers import WithWorkers

        role = WithWorkers(loaded)
    else:
        from voxgender.roles.serve import Standalone

        role = Standalone(loaded)
    return _run_role(role, "voxgender is ready: open {}")


def _signaling(arguments: argparse.Namespace) -> int:
    from voxgender.roles.signaling import Signaling

    return _run_role(Signaling(_load_server_settings(arguments)), "voxgender signaling is ready: open {}")


def _media(arguments: argparse.Namespace) -> int:
    from voxgender.fleet.secret import Secret
    from voxgender.roles.media import Media
    from voxgender.roles.serve import make_analyzer

    loaded = _load_server_settings(arguments)
    role = Media(loaded, make_analyzer, Secret(loaded.secret))
    return _run_role(role, "voxgender media is ready: signaling reaches it at {}")


def _run_role(role: "Role", ready: str) -> int:
    from voxgender.roles.running import run

    _run(run(role, lambda url: print(ready.format(url), flush=True)))
    return 0


def _call(arguments: argparse.Namespace) -> int:
    from voxgender.peer.terminal import call

    _run(
        call(
            arguments.url,
            audio=arguments.audio,
            token=arguments.token,
            relay_only=arguments.relay_only,
            faults=Faults.of(**vars(arguments)),
            json=arguments.json,
        )
    )
    return 0


def _load(arguments: argparse.Namespace) -> int:
    from voxgender.peer.load import Size
    from voxgender.peer.terminal import load

    size = options.convert(Size, vars(arguments))
    _run(
        load(
            arguments.url,
            peers=size.peers,
            seconds=size.seconds,
            audio=arguments.audio or (),
            token=arguments.token,
            allow_remote=arguments.allow_remote,
            faults=Faults.of(**vars(arguments)),
            json=arguments.json,
        )
    )
    return 0


def _classify(arguments: argparse.Namespace) -> int:
    from voxgender.roles.serve import make_analyzer

    analyzer = make_analyzer(_load_settings(arguments))
    failed = False
    try:
        for path in arguments.files:
            try:
                verdict = analyzer.classify_file(path)
            except AudioError as error:
                _fail(error, 1)
                failed = True
                continue
            if arguments.json:
                print(json.dumps({"file": str(path), **verdict.to_dict()}), flush=True)
            else:
                print(f"{path}: {verdict}", flush=True)
    finally:
        analyzer.close()
    return int(failed)


def _evaluate(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from voxgender.roles.serve import make_analyzer
    from voxgender.training.evaluate import as_dict, as_table, evaluate, tabulated
    from voxgender.training.manifest import read_manifest, with_split

    clips = [clip for clip in read_manifest(arguments.manifest) if clip.label]
    if arguments.split is not None:
        clips = with_split(clips, arguments.split)
    if not clips:
        raise ManifestError(f"{arguments.manifest}: no labelled rows to evaluate")
    analyzer = make_analyzer(_load_settings(arguments))
    try:
        outcomes = list(tqdm(evaluate(clips, analyzer), total=len(clips), unit="file", disable=None))
    finally:
        analyzer.close()
    figures = tabulated(outcomes)
    print(json.dumps({"model": analyzer.model, **as_dict(figures)}) if arguments.json else as_table(figures))
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from voxgender.training.train import TrainOptions, train

    given = {name: value for name, value in vars(arguments).items() if value is not None and name != "run"}
    trained = train(TrainOptions(**given))
    print(f"best after {trained.step} steps; next: voxgender export {arguments.out} DIR")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from voxgender.training.export import export

    export(arguments.training, arguments.out)
    print(f"written; next: voxgender serve --model {arguments.out}")
    return 0


def _run(main: Coroutine[Any, Any, T]) -> T:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def _fail(error: VoxgenderError, status: int) -> int:
    print(f"voxgender: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
