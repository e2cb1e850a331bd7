"""Make a model of your own, from `train` to `serve`.

    python examples/own_model.py
    python examples/own_model.py --manifest recordings.csv --steps 26000

Without recordings it learns from synthetic voices for a minute or two. That shows each step, and gives no model to
rely on.
"""

import argparse
import asyncio
import csv
import sys
import tempfile
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
from running import command, run, voxgender

from voxgender.peer.vocaltract import SAMPLE_RATE_HZ, Samples
from voxgender.peer.voices import MAN, WOMAN, speak

PEOPLE = 5
"""Synthetic people of each sex. The last one is kept to check the model with."""
SMALL = ("--hidden", "32", "--layers", "1", "--batch", "16", "--crops", "96", "--workers", "1")
PLAIN = ("--resynthesised-speakers", "0", "--extra-resynthesised", "0")


def synthesise(folder: Path) -> Path:
    """Write recordings of synthetic people and of noise, and their manifest."""
    rows = []
    for index in range(PEOPLE):
        split = "dev" if index == PEOPLE - 1 else "train"
        height = 0.88 + 0.05 * index
        noise = np.random.default_rng(index).normal(0, 0.05, 2 * SAMPLE_RATE_HZ)
        for label, samples in (
            ("male", speak(replace(MAN, f0_hz=MAN.f0_hz * height), 4.0, seed=index)),
            ("female", speak(replace(WOMAN, f0_hz=WOMAN.f0_hz * height), 4.0, seed=index)),
            ("noise", noise.astype(np.float32)),
        ):
            name = f"{label}{index}"
            write(folder / f"{name}.wav", samples)
            rows.append((f"{name}.wav", label, split, "" if label == "noise" else name))
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "split", "speaker"), *rows])
    return manifest


def write(path: Path, samples: Samples) -> None:
    """Write 16 kHz mono samples as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes())


async def do(*arguments: str) -> None:
    """Show a command of voxgender, and run it to its end."""
    print("$ voxgender", *arguments, flush=True)
    process = await asyncio.create_subprocess_exec(*command(*arguments))
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if status:
        sys.exit(status)


async def main(manifest: Path | None, steps: int, port: int, folder: Path) -> None:
    """Train, export, evaluate and serve."""
    size = (*SMALL, *PLAIN) if manifest is None else ()
    manifest = manifest or synthesise(folder)
    trained, model = str(folder / "run"), str(folder / "model")
    # Two phases: from random weights, and then at a lower rate.
    phases = ("--steps", str(steps), "--tuning-steps", str(max(1, steps // 6)))
    checks = ("--check-every", str(max(1, steps // 4)), "--cache", str(folder / "cache"))
    await do("train", str(manifest), "--out", trained, *phases, *checks, *size)
    await do("export", trained, model)
    await do("evaluate", str(manifest), "--split", "dev", "--model", model)
    async with voxgender("serve", "--port", str(port), "--model", model) as url:
        await do("call", url)
        print(f"open {url}, and speak to your own model", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, help="table of your recordings: path,label,split,speaker")
    parser.add_argument("--steps", type=int, default=200, help="steps of training")
    parser.add_argument("--port", type=int, default=8080, help="port of the server")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(main(given.manifest, given.steps, given.port, Path(temporary)))
