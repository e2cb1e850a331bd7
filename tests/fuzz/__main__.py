"""Fuzz the parsers for a night: ``python -m tests.fuzz`` (``make fuzz``).

A million cases by default, shared out to the targets. Each target has a process of its own, which atheris (libFuzzer)
guides by the coverage of the code under test. What it learned stays in ``.cache/fuzz/TARGET``, so that the next run
goes on from there. An input that breaks the contract is written to ``artifacts/fuzz/TARGET`` and ends its target; the
others go on, and the exit status is 1. To try such an input again: ``python -m tests.fuzz TARGET --input FILE``.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.contract import Parse, Target, held_to_contract
from tests.fuzz.mutation import mutated

PROJECT = Path(__file__).parents[2]
CORPUS = PROJECT / ".cache" / "fuzz"
ARTIFACTS = PROJECT / "artifacts" / "fuzz"

_MEMORY_MB = 3_000
_HANGS_S = 60
"""Wall time after which libFuzzer ends a case; the contract's own bound is much lower, and in CPU time."""
_CODE = ["voxgender", "aiortc", "aioice"]
"""Packages whose branches guide the search."""


def main() -> int:
    arguments = _arguments()
    if arguments.one:
        return _fuzz(arguments)
    from tests.fuzz.targets import TARGETS

    known = {target.name: target for target in TARGETS}
    if unknown := set(arguments.names) - known.keys():
        sys.exit(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen = [target for target in TARGETS if not arguments.names or target.name in arguments.names]
    if arguments.input:
        with held_to_contract(chosen[0]) as parse:
            parse(arguments.input.read_bytes())
        return 0
    total = sum(target.share for target in chosen)
    return max([_run(target, arguments.cases * target.share // total, arguments.seconds) for target in chosen])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help="default: all")
    parser.add_argument("--cases", type=int, default=1_000_000, help="in all (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=3_600, help="for each target at most (default: %(default)s)")
    parser.add_argument("--input", type=Path, metavar="FILE", help="try one input of one target")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(target: Target, cases: int, seconds: int) -> int:
    """Fuzz a target in a process of its own; return 1 if an input broke the contract."""
    began_at = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz", target.name, "--one", f"--cases={cases}", f"--seconds={seconds}"]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    took_s = time.monotonic() - began_at
    stated = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    figures = json.loads(stated[-1]) if stated else {"cases": 0}
    rate = round(figures["cases"] / max(took_s, 0.001))
    verdict = "ok" if ended.returncode == 0 else "BROKEN"
    print(f"{target.name:<12} {verdict:<7} {figures['cases']:>9} cases {rate:>6} a second", flush=True)
    if ended.returncode:
        print("\n".join((ended.stdout + ended.stderr).splitlines()[-40:]), flush=True)
    return int(ended.returncode != 0)


def _fuzz(arguments: argparse.Namespace) -> int:
    """Fuzz one target in this process."""
    try:
        import atheris
    except ImportError:
        # There is none for this Python: the same inputs, without guidance.
        return _fuzz_blindly(_named(arguments.names[0]), arguments.cases, arguments.seconds)
    with atheris.instrument_imports(include=_CODE, enable_loader_override=False):
        target = _named(arguments.names[0])
    corpus, artifacts = CORPUS / target.name, ARTIFACTS / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    artifacts.mkdir(parents=True, exist_ok=True)
    seeds = target.seeds()
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_len={target.largest}",
        f"-timeout={_HANGS_S}",
        f"-rss_limit_mb={_MEMORY_MB}",
        f"-artifact_prefix={artifacts}/",
        "-len_control=0",
        "-verbosity=0",
    ]

    def mutate(data: bytes, largest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(data, largest))
        return mutated(seed, [data, data, chance.choice(seeds)], target.words, largest)

    contract = held_to_contract(target)
    counted = _Counted(contract.__enter__(), arguments, lambda: contract.__exit__(None, None, None))
    atheris.Setup([sys.argv[0], *options, str(corpus)], counted, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


class _Counted:
    """Counts the cases; after the last one, looks for leaks and ends the process.

    libFuzzer would end it by ``exit``, in the middle of what the target has open.
    """

    def __init__(self, parse: Parse, arguments: argparse.Namespace, leave: Callable[[], Any]) -> None:
        self._parse = parse
        self._cases = arguments.cases
        self._until = time.monotonic() + arguments.seconds
        self._leave = leave
        self._count = 0

    def __call__(self, data: bytes) -> None:
        self._count += 1
        self._parse(data)
        is_last = self._count >= self._cases or time.monotonic() > self._until
        if is_last or self._count % 1_000 == 0:
            print(json.dumps({"cases": self._count}), flush=True)
        if is_last:
            self._leave()
            sys.stderr.flush()
            os._exit(0)


def _fuzz_blindly(target: Target, cases: int, seconds: int) -> int:
    until = time.monotonic() + seconds
    seeds = target.seeds()
    done = 0
    with held_to_contract(target) as parse:
        for done in range(1, cases + 1):
            data = mutated(random.getrandbits(48), seeds, target.words, target.largest)
            try:
                parse(data)
            except BaseException:
                folder = ARTIFACTS / target.name
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"crash-{done}").write_bytes(data)
                raise
            if time.monotonic() > until:
                break
    print(json.dumps({"cases": done}), flush=True)
    return 0


def _named(name: str) -> Target:
    from tests.fuzz.targets import TARGETS

    return next(target for target in TARGETS if target.name == name)


if __name__ == "__main__":
    sys.exit(main())
