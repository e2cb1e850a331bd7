import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxgender.peer.voices import MAN, WOMAN, speak

SAMPLE_RATE_HZ = 16_000


def save(path: Path, audio: np.ndarray[Any, Any]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of synthesised people: three men and three women to learn from, one of each to choose by, noise."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = ["path,label,split,speaker,corpus"]
    for index in range(4):
        split = "dev" if index == 3 else "train"
        for label, voice in (("male", MAN), ("female", WOMAN)):
            other = replace(voice, f0_hz=voice.f0_hz * (0.9 + 0.07 * index))
            save(folder / f"{label}{index}.wav", speak(other, 2.5, seed=index))
            rows.append(f"{label}{index}.wav,{label},{split},{label}{index},babble")
        noise = np.random.default_rng(index).normal(0, 0.05, 2 * SAMPLE_RATE_HZ)
        save(folder / f"noise{index}.wav", noise)
        rows.append(f"noise{index}.wav,noise,{split},,hiss")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return manifest


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all trainings of the session, as users share theirs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def write_manifest(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: str, files: tuple[str, ...] = ()) -> Path:
        for name in files:
            (tmp_path / name).touch()
        manifest = tmp_path / "manifest.csv"
        manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return manifest

    return write
