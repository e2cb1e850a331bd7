"""Another model for calls that go on."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from aiohttp.test_utils import TestClient, TestServer
from safetensors.torch import load_file, save_file

from tests.engine.models import Fixed
from tests.inference import tiny
from tests.options import given
from tests.rtc import LOOPBACK, Peer, a_peer, a_server
from tests.support import Samples, TimedTrack, in_real_time
from voxgender import protocol
from voxgender.audio.frames import Wave
from voxgender.engine import Engine
from voxgender.engine.call_state import CallState, Hop
from voxgender.errors import ModelError, NotReady
from voxgender.http.app import create_app
from voxgender.http.models import ModelRequest
from voxgender.inference.classifier import Classifier
from voxgender.media.node import MediaNode
from voxgender.peer.voices import MAN, speak
from voxgender.roles.modelswap import ModelSwap
from voxgender.settings import FrontSettings, ModelOptions


def says(label: str, labels: tuple[str, ...] = ("male", "female"), name: str = "") -> Fixed:
    model = Fixed(labels, tuple(0.95 if each == label else 0.05 / (len(labels) - 1) for each in labels))
    model.name = name or f"says {label}"
    return model


def hear(engine: Engine, voice: CallState, audio: Samples) -> list[Hop]:
    hops = [*voice.place([Wave(audio)]), *voice.cut(exact=True)]
    engine.process({voice: hops})
    return hops


def test_a_call_that_goes_on_hears_the_new_model_from_the_next_turn_on() -> None:
    engine = Engine(says("male"))
    voice, speech = engine.new_state(), speak(MAN, 6.0)
    before = hear(engine, voice, speech[:32_000])
    engine.swap(says("female"))
    after = hear(engine, voice, speech[32_000:])
    assert max(before[-1].scores or {}, key=(before[-1].scores or {}).__getitem__) == "male"
    assert max(after[-1].scores or {}, key=(after[-1].scores or {}).__getitem__) == "female"
    assert engine.hello("me").model == "says female"


def test_the_same_labels_in_another_order_are_the_same() -> None:
    engine = Engine(says("male"))
    engine.swap(says("male", ("other", "female", "male")))
    hops = hear(engine, engine.new_state(), speak(MAN, 3.0))
    scores = [hop.scores for hop in hops if hop.scores]
    assert all(one["male"] > 0.9 for one in scores)
    assert engine.hello("me").labels == ("male", "female", "uncertain", "no_speech")


@pytest.mark.parametrize("labels", [("happy", "sad"), ("male", "female", "child")])
def test_a_model_with_other_labels_than_calls_were_told_is_refused(labels: tuple[str, ...]) -> None:
    engine = Engine(says("male"))
    with pytest.raises(ModelError, match=f"tells {', '.join(labels)}, but calls were told male, female"):
        engine.swap(says(labels[0], labels))
    assert engine.model == "says male"


def test_a_server_without_a_model_stays_without() -> None:
    with pytest.raises(ModelError, match="started without a model"):
        Engine(None).swap(says("male"))


def bad(_: ModelOptions) -> Classifier:
    raise ModelError("model new: gives NaN")


async def test_a_model_that_is_refused_leaves_the_old_one_serving(caplog: pytest.LogCaptureFixture) -> None:
    swap = ModelSwap(ModelOptions(), bad)
    swap.engine = Engine(says("male"))
    with pytest.raises(ModelError, match="gives NaN"):
        await swap.swap(ModelRequest(model="new"))
    assert swap.engine.model == "says male"
    assert "the model stays says male: model new: gives NaN" in caplog.text


async def test_one_model_is_loaded_at_a_time() -> None:
    may_go_on = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(_: ModelOptions) -> Classifier:
        asyncio.run_coroutine_threadsafe(may_go_on.wait(), loop).result(20)
        return says("female")

    swap = ModelSwap(ModelOptions(), slow)
    with pytest.raises(NotReady, match="starting"):
        await swap.swap(ModelRequest())
    swap.engine = Engine(says("male"))
    first = asyncio.create_task(swap.swap(ModelRequest()))
    await asyncio.sleep(0)
    with pytest.raises(NotReady, match="Another model is being loaded"):
        await swap.swap(ModelRequest())
    may_go_on.set()
    assert await first == "says female"


async def test_options_of_the_old_model_are_not_the_new_ones() -> None:
    asked: list[ModelOptions] = []

    def load(settings: ModelOptions) -> Classifier:
        asked.append(settings)
        return says("male")

    swap = ModelSwap(given(ModelOptions, model="old", model_revision="v1", labels=("male=a",), precision="fp32"), load)
    swap.engine = Engine(says("male"))
    await swap.swap(ModelRequest())
    await swap.swap(ModelRequest(model="new"))
    await swap.swap(ModelRequest(revision="v2", labels=("male=b",)))
    told = [(one.model, one.model_revision, one.labels, one.precision) for one in asked]
    assert told == [
        ("old", "v1", ("male=a",), "fp32"),
        ("new", "", (), "fp32"),
        ("new", "v2", ("male=b",), "fp32"),
    ]


async def test_live_calls_notice_nothing_of_a_swap_but_its_labels() -> None:
    """No call is dropped, no hop is left out, and nobody is warned, however often the model changes under them."""
    swap = ModelSwap(ModelOptions(), lambda settings: says(settings.model))
    swap.engine = Engine(says("male"))
    voice = np.tile(speak(MAN, 6.0), 10)
    heard: dict[int, list[protocol.Message]] = {}

    async def until_it_says(number: int, peer: Peer, label: str) -> None:
        async with asyncio.timeout(20):
            while getattr(heard[number][-1], "label", "") != label:
                heard[number].append(await peer.messages.get())

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(a_server(swap.engine))
        peers = []
        for number in range(3):
            peer = await stack.enter_async_context(a_peer(TimedTrack(in_real_time(voice))))
            peer.channels()
            await peer.call(server.http)
            heard[number] = [await peer.messages.get()]
            peers.append(peer)
        for label in ("male", "female", "male", "female"):
            if swap.engine.model != f"says {label}":
                await swap.swap(ModelRequest(model=label))
            await asyncio.gather(*(until_it_says(number, peer, label) for number, peer in enumerate(peers)))
        assert server.node.live == 3
    await asyncio.to_thread(swap.engine.close)
    for messages in heard.values():
        results = [message for message in messages if isinstance(message, protocol.Result)]
        assert sorted(result.seq for result in results) == list(range(1, len(results) + 1))
        assert not [message for message in messages if isinstance(message, protocol.Warning)]


@asynccontextmanager
async def an_app(load: Any, **options: str) -> AsyncIterator[TestClient[Any, Any]]:
    swap = ModelSwap(ModelOptions(), load)
    swap.engine = Engine(says("male"))
    app = create_app(given(FrontSettings, **options), MediaNode(), models=swap)
    async with TestClient(TestServer(app)) as client:
        yield client


async def problem(client: TestClient[Any, Any], **request: Any) -> tuple[int, str]:
    async with client.put("/model", **request) as response:
        return response.status, (await response.json(content_type=None))["code"]


async def test_operators_swap_the_model_over_http() -> None:
    operator = {"Authorization": "Bearer hunter2"}
    async with an_app(lambda _: says("female"), token="hunter2") as client:
        assert await problem(client) == (401, "unauthorized")
        for body in ("nonsense", '{"modle": "x"}', '{"model": 1}', "[" * 9_999):
            assert await problem(client, data=body, headers=operator) == (400, "malformed_request")
        assert await problem(client, json={"model": "off"}, headers=operator) == (422, "model_refused")
        async with client.put("/model", json={"model": "new"}, headers=operator) as response:
            assert (response.status, await response.json()) == (200, {"model": "says female"})
    async with an_app(bad, token="hunter2") as client:
        assert await problem(client, headers=operator) == (422, "model_refused")


async def test_a_server_that_asks_nobody_for_a_token_loads_for_nobody() -> None:
    async with an_app(lambda _: says("female")) as client:
        assert await problem(client) == (403, "tokens_required")


async def test_sighup_loads_the_model_again_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    directory = tiny.save("Wav2Vec2ForSequenceClassification", tmp_path / "mine")
    arguments = ("serve", "--model", str(directory), "--ice-address", LOOPBACK, "--port", "0")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "voxgender.cli", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None

    async def logged(text: str) -> None:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while text not in (line := (await process.stderr.readline()).decode()):
                assert line, f"{text} is not in the log"

    try:
        async with asyncio.timeout(60):
            assert b"ready" in await process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        await logged("the model is now mine")
        tensors = load_file(directory / "model.safetensors")
        tensors["classifier.bias"][0] = torch.nan
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        process.send_signal(signal.SIGHUP)
        await logged("the model stays mine")
    finally:
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 0
