#!/usr/bin/env python3
"""Run the Dockerfile without Docker: a target's own install steps in a temporary folder, then its command until ready.

What an engine would do as root of a fresh filesystem is done below that folder: COPY and RUN see `/src` and `/opt`
there, and all stages share it. Steps that need an engine (FROM, USER, useradd) are said to be skipped. Ends with status
0 once the image's own HEALTHCHECK passes, its command stops cleanly on SIGTERM, and what is promised of the target
holds: the size of its packages, how soon it is ready, and its memory. Takes minutes for `media`, and the network for
the packages. Build arguments come from the environment, such as PIP_EXTRA_INDEX_URL.

usage: tools/dockerfile_steps.py [--keep] [TARGET…]     (all targets where none is named)
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[1]
READY_TIMEOUT_S = 120
STOP_TIMEOUT_S = 15
STARTS = 3
"""The fastest of so many starts counts: whatever else the machine does makes one slower, and none faster."""
# The image's paths that are mapped below the temporary folder; all others are the host's.
MAPPED = re.compile(r"(?<![\w.}/-])/(?=(?:src|opt|home/voxgender)\b)")
# Both halves want one; nothing is reached with it.
SECRET = "not-a-secret-but-long-enough-to-be-one"


class Target(NamedTuple):
    """Promises of an image, and arguments with which its command starts without the rest of a fleet."""

    packages_mb: float
    ready_s: float
    memory_mb: float
    environment: dict[str, str]
    absent: tuple[str, ...] = ()
    """Modules that must not be there."""


TARGETS = {
    "signaling": Target(
        packages_mb=150,
        ready_s=1.0,
        memory_mb=100,
        environment={"VOXGENDER_NODES": "http://127.0.0.1:9"},
        absent=("torch", "numpy", "aiortc", "av", "onnxruntime", "transformers"),
    ),
    "media": Target(
        packages_mb=350,
        ready_s=5.0,
        memory_mb=200,
        environment={"VOXGENDER_ICE_ADDRESS": "127.0.0.1"},
        absent=("torch", "transformers", "onnx", "safetensors", "silero_vad", "sympy"),
    ),
}


class Stage(NamedTuple):
    name: str
    base: str
    instructions: list[tuple[str, str]]


class Image:
    """The filesystem, environment and command that the Dockerfile asks for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workdir = root
        self.environment = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        self.environment |= {"HOME": str(root / "home/voxgender"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        self.command: dict[str, list[str]] = {}

    def step(self, instruction: str, rest: str) -> None:
        match instruction:
            case "WORKDIR":
                self.workdir = self.path(rest)
                self.workdir.mkdir(parents=True, exist_ok=True)
            case "ARG":
                name, _, default = rest.partition("=")
                if value := os.environ.get(name, default):
                    self.environment[name] = value
            case "COPY":
                self.copy(rest.split())
            case "ENV":
                name, _, value = rest.partition("=")
                value = value.replace("$PATH", self.environment["PATH"])
                self.environment[name] = self.mapped(value)
            case "RUN" if not rest.startswith("useradd "):
                self.run(rest)
            case "ENTRYPOINT" | "CMD":
                self.command[instruction] = json.loads(rest)
            case "HEALTHCHECK":
                self.command[instruction] = json.loads(rest.partition("CMD ")[2])
            case _:
                print(f"-- skipped: {instruction} {rest}", flush=True)

    def copy(self, words: list[str]) -> None:
        source = PROJECT
        if words[0].startswith("--from="):
            source, words = self.root, words[1:]
        *names, target = words
        destination = self.path(target)
        for name in names:
            origin = source / name.lstrip("/")
            if origin.is_dir():
                # All stages share one folder here, so a copy onto itself is nothing to do.
                if origin != destination:
                    ignored = shutil.ignore_patterns("__pycache__", "node_modules", "test")
                    shutil.copytree(origin, destination, ignore=ignored, dirs_exist_ok=True)
            else:
                shutil.copy2(origin, destination)

    def run(self, command: str) -> None:
        print(f"-- RUN {command}", flush=True)
        # With the host's PATH: in the image, only the last stage has the packages' own.
        environment = self.environment | {"PATH": os.environ["PATH"]}
        subprocess.run(["sh", "-ec", self.mapped(command)], cwd=self.workdir, env=environment, check=True)

    def path(self, text: str) -> Path:
        return self.workdir / self.mapped(text)

    def mapped(self, text: str) -> str:
        return MAPPED.sub(f"{self.root}/", text)

    def program(self, name: str) -> str:
        found = shutil.which(name, path=self.environment["PATH"])
        if found is None or not Path(found).is_relative_to(self.root):
            raise SystemExit(f"{name} is not in the image")
        return found


def stages(text: str) -> dict[str, Stage]:
    """The Dockerfile's stages by name, in order."""
    found: dict[str, Stage] = {}
    for instruction, rest in instructions(text):
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = Stage(name, base, [])
        elif found:
            found[next(reversed(found))].instructions.append((instruction, rest))
    return found


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction with the rest of its line, continued lines joined, comments left out."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^\s*#.*\n", "", text))
    return [(word, rest.strip()) for line in joined.splitlines() if line for word, _, rest in [line.partition(" ")]]


def needed(target: str, known: dict[str, Stage]) -> list[Stage]:
    """The stages that a target is made of, in the Dockerfile's order, as an engine would build them."""

    def names(name: str) -> Iterator[str]:
        if stage := known.get(name):
            yield name
            yield from names(stage.base)
            for instruction, rest in stage.instructions:
                if instruction == "COPY" and (source := re.match(r"--from=(\S+)", rest)):
                    yield from names(source[1])

    wanted = set(names(target))
    return [stage for stage in known.values() if stage.name in wanted]


def build(target: str, root: Path) -> Image:
    image = Image(root)
    workdirs: dict[str, Path] = {}
    for stage in needed(target, stages((PROJECT / "Dockerfile").read_text())):
        print(f"-- FROM {stage.base} AS {stage.name}", flush=True)
        image.workdir = workdirs.get(stage.base, root)
        for instruction, rest in stage.instructions:
            image.step(instruction, rest)
        workdirs[stage.name] = image.workdir
    return image


def check_packages(image: Image, promised: Target) -> None:
    """The size of what was installed, and that what is not wanted is not in it."""
    size = sum(path.lstat().st_size for path in (image.root / "opt/voxgender").rglob("*")) / 1e6
    hold(f"/opt/voxgender holds {size:.0f} MB", size <= promised.packages_mb, f"{promised.packages_mb:.0f} MB")
    imports = f"import importlib.util as u; print(*[m for m in {promised.absent!r} if u.find_spec(m)])"
    found = subprocess.run([image.program("python"), "-c", imports], capture_output=True, text=True, check=True)
    hold(f"modules that are not wanted: {found.stdout.strip() or 'none'}", not found.stdout.strip(), "none")


def check_start(image: Image, promised: Target) -> None:
    """Measure how soon it is ready and how much memory it has then: the best of some starts."""
    served = [serve(image, promised) for _ in range(STARTS)]
    ready_s, cpu_s, memory_mb = map(min, zip(*served, strict=True))
    print(f"-- {cpu_s:.2f} s of CPU until ready", flush=True)
    hold(f"ready {ready_s:.2f} s after its start", ready_s <= promised.ready_s, f"{promised.ready_s:g} s")
    hold(f"{memory_mb:.0f} MB of memory when ready", memory_mb <= promised.memory_mb, f"{promised.memory_mb:.0f} MB")


def hold(said: str, holds: bool, limit: str) -> None:
    print(f"-- {said} (at most {limit})", flush=True)
    if not holds:
        raise SystemExit(f"{said}: more than {limit}")


def serve(image: Image, promised: Target) -> tuple[float, float, float]:
    """Start ENTRYPOINT and CMD on a free port until ready, pass HEALTHCHECK, stop.

    Returns:
        When ``/health/ready`` answered 200: seconds since the start, seconds of CPU, and resident memory in MB.

    Raises:
        SystemExit: it ends by itself, stays unhealthy, or does not stop cleanly.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = image.environment | {
        "VOXGENDER_PORT": str(port),
        "VOXGENDER_HOST": "127.0.0.1",
        "VOXGENDER_SECRET": SECRET,
        **promised.environment,
    }
    entry, *arguments = image.command["ENTRYPOINT"] + image.command["CMD"]
    started = time.monotonic()
    server = subprocess.Popen([image.program(entry), *arguments], env=environment, cwd=image.workdir)
    try:
        while not is_ready(port):
            if server.poll() is not None:
                raise SystemExit(f"the server ended with status {server.returncode} before it was ready")
            if time.monotonic() - started > READY_TIMEOUT_S:
                raise SystemExit(f"the server was not ready within {READY_TIMEOUT_S} s")
            time.sleep(0.02)
        ready_s, used_s, memory_mb = time.monotonic() - started, cpu_s(server.pid), resident_mb(server.pid)
        name, *arguments = image.command["HEALTHCHECK"]
        if subprocess.run([image.program(name), *arguments], env=environment, check=False).returncode:
            raise SystemExit("it is ready, and its HEALTHCHECK fails")
        server.send_signal(signal.SIGTERM)
        if status := server.wait(STOP_TIMEOUT_S):
            raise SystemExit(f"the server stopped with status {status}")
        return ready_s, used_s, memory_mb
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def cpu_s(pid: int) -> float:
    """proc(5): the 14th and 15th field of ``stat``, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def main(arguments: list[str]) -> None:
    targets = [argument for argument in arguments if argument != "--keep"] or list(TARGETS)
    if unknown := [target for target in targets if target not in TARGETS]:
        raise SystemExit(f"no target {unknown[0]}; usage: tools/dockerfile_steps.py [--keep] [{'|'.join(TARGETS)}…]")
    for target in targets:
        print(f"== {target}", flush=True)
        root = Path(tempfile.mkdtemp(prefix="voxgender-image-"))
        try:
            image = build(target, root)
            check_packages(image, TARGETS[target])
            check_start(image, TARGETS[target])
        finally:
            if "--keep" in arguments:
                print(f"-- kept: {root}")
            else:
                shutil.rmtree(root)


if __name__ == "__main__":
    main(sys.argv[1:])
