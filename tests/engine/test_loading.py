"""The library loads few modules, and leaves signals, logging and the event loop alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from voxgender.engine import loading
from voxgender.engine.engine import Engine
from voxgender.errors import ModelError, SettingsError

_AFTER = "import sys; print(' '.join(sorted(sys.modules)))"


def modules_after(program: str) -> set[str]:
    """Names of all modules that a fresh interpreter has loaded after a program."""
    run = subprocess.run(
        [sys.executable, "-c", f"{program}\n{_AFTER}"], check=True, capture_output=True, text=True, timeout=100
    )
    return set(run.stdout.splitlines()[-1].split())


def server_parts(modules: set[str]) -> set[str]:
    """Return those of some modules that a library has no use for."""
    unwanted = ("torch", "transformers", "aiohttp", "uvloop", "redis", "jwt", "fastapi")
    ours = ("http", "signaling", "media", "fleet", "roles", "settings", "serve", "hosting", "workers", "worker", "peer")
    return {
        name
        for name in modules
        if name.split(".")[0] in unwanted or name.split(".")[:2] in [["voxgender", part] for part in ours]
    }


def test_importing_the_library_loads_next_to_nothing() -> None:
    modules = modules_after("from voxgender import analyze")
    assert not modules & {"aiortc", "numpy", "onnxruntime", "av", "asyncio"}
    assert server_parts(modules) == set()


def test_analyzing_a_track_with_the_shipped_model_loads_neither_server_nor_torch() -> None:
    """It came by way of the server's settings, and with them 64 modules, aiohttp and all of signaling."""
    modules = modules_after("""
import asyncio
from fractions import Fraction
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame
from voxgender import analyze

class Speaker(MediaStreamTrack):
    kind = "audio"
    given = 0

    async def recv(self):
        self.given += 1
        if self.given > 50:
            raise MediaStreamError
        frame = AudioFrame.from_ndarray(np.zeros((1, 960), dtype=np.int16), layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 960 * self.given, Fraction(1, 48_000)
        return frame

async def main():
    told = [message.type async for message in analyze(Speaker())]
    assert (told[0], told[-1]) == ("hello", "summary"), told

asyncio.run(main())
""")
    assert server_parts(modules) == set()
    assert "voxgender.engine.engine" in modules


def test_analyzing_and_classifying_pcm_loads_neither_server_nor_torch() -> None:
    modules = modules_after("""
import asyncio
from voxgender import Voice, analyze, classify

async def main():
    told = [message.type async for message in analyze([bytes(32_000)], rate=16_000, model="off")]
    assert (told[0], told[-1]) == ("hello", "summary"), told
    assert (await classify(bytes(32_000), rate=16_000, model="off")).label is None
    async with Voice(16_000, model="off", on_message=print) as voice:
        voice.push(bytes(32_000))

asyncio.run(main())
""")
    assert server_parts(modules) == set()
    assert not any(name.split(".")[0] in ("fastrtc", "livekit", "pipecat") for name in modules)


def test_an_adapter_loads_no_server() -> None:
    modules = modules_after("from voxgender.integrations.livekit import RoomVoices")
    assert server_parts(modules) == set()


def test_loading_an_engine_asks_for_neither_settings_nor_http() -> None:
    modules = modules_after("from voxgender.engine.loading import load_engine; load_engine('off').close()")
    assert server_parts(modules) == set()
    assert not any(name.startswith("voxgender.inference.loading") for name in modules)


def test_an_engine_is_loaded_as_it_was_asked_for() -> None:
    engine = loading.load_engine("off", window_ms=640, hop_ms=320)
    hello = engine.hello("me")
    engine.close()
    assert (hello.session, hello.model, hello.window_ms, hello.hop_ms) == ("me", "off", 640, 320)


def test_a_hop_that_does_not_fit_is_refused_before_the_model_is_loaded() -> None:
    with pytest.raises(SettingsError, match="200 ms does not fit"):
        loading.load_engine("/no/such/model", hop_ms=200)


def test_a_model_that_is_not_there_is_said_so() -> None:
    with pytest.raises(ModelError, match="no-such-model"):
        loading.load_engine("./no-such-model")


def test_a_path_names_a_model_as_its_text_does(tmp_path: Path) -> None:
    """A path that was not there ended in a ``TypeError``."""
    with pytest.raises(ModelError, match="no such directory"):
        loading.shared_engine(tmp_path / "no-such-model")


def test_a_relative_path_means_the_model_that_is_there_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that had gone to another directory was given the model of the first one, without a word."""
    monkeypatch.setattr(loading, "load_engine", lambda _: Engine(None))
    engines = []
    for place in ("one", "other"):
        (tmp_path / place / "checkpoint").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / place)
        assert loading.loaded_engine("checkpoint") is None
        engines.append(loading.shared_engine("checkpoint"))
        assert loading.loaded_engine(tmp_path / place / "checkpoint") is engines[-1]
    assert engines[0] is not engines[1]
    for engine in engines:
        engine.close()
    for place in ("one", "other"):
        monkeypatch.delitem(loading._engines, str(tmp_path / place / "checkpoint"))
