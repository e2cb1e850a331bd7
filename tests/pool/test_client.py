"""A node's side of a pool, over real HTTP; the pool's faults are made, and Ray is left out."""

import asyncio
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

import msgspec
import numpy as np
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from tests.pool.pools import HOST, Marks, a_client, a_pool, marked
from tests.waits import PATIENCE_S, block_until
from voxgender.errors import ModelError
from voxgender.inference.classifier import Unclassified
from voxgender.pool import wire
from voxgender.pool.client import PoolClassifier
from voxgender.version import __version__


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"voxgender_pool_{name}", labels) or 0.0


def female(client: PoolClassifier, *marks: float, samples: int = 16_000) -> list[float]:
    rows = client.submit([marked(mark, samples) for mark in marks])
    return [float(row.result(20)[client.labels.index("female")]) for row in rows]


def test_labels_name_and_probabilities_come_from_the_pools_model() -> None:
    with a_pool(Marks(labels=("female", "other", "male"))) as pool, a_client(pool) as client:
        assert (client.name, client.labels, client.min_window_ms) == ("marks", ("female", "other", "male"), 500)
        assert female(client, 0.25) == [pytest.approx(0.25, abs=1e-4)]
        assert client.is_up


def test_windows_of_many_calls_travel_together_whatever_their_sizes() -> None:
    with a_pool() as pool, a_client(pool) as client:
        rows = client.submit([marked(0.1), marked(0.2, 8_000), marked(0.3)])
        assert [row.result(20)[1] for row in rows] == [pytest.approx(mark, abs=1e-4) for mark in (0.1, 0.2, 0.3)]
        assert pool.requests == 1


def test_results_are_never_crossed_whatever_order_they_come_in() -> None:
    """Many threads ask at once, and the pool answers the last first: each has to get its own."""
    holds = count()
    with a_pool() as pool:
        pool.service.description = msgspec.structs.replace(pool.service.description, together=4)
        client = PoolClassifier(HOST, pool.port, deadline_s=20.0)

        def ask(number: int) -> None:
            pool.hold_s = 0.05 - 0.01 * (next(holds) % 5)
            marks = [(number * 16 + place + 1) / 1_000 for place in range(16)]
            assert female(client, *marks) == [pytest.approx(mark, abs=1e-4) for mark in marks]

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(ask, range(32)))
        client.close()


@pytest.mark.parametrize("change", ["keys", "missing", "twice", "model", "labels", "nan", "garbage", "empty"])
def test_an_answer_to_anything_else_is_not_taken(change: str) -> None:
    """An answer in a wrong order, or to another node, would be told of a caller as if it were his."""
    with a_pool() as pool, a_client(pool) as client:

        def other(body: bytes) -> web.Response:
            asked = msgspec.msgpack.decode(body, type=wire.Request)
            rows = [wire.Row(key=window.key, probabilities=(0.9, 0.1)) for window in asked.windows]
            model = asked.model
            match change:
                case "keys":
                    rows[0] = wire.Row(key=rows[0].key + 1_000, probabilities=(0.9, 0.1))
                case "missing":
                    rows.pop()
                case "twice":
                    rows[1] = rows[0]
                case "model":
                    model = "another"
                case "labels":
                    rows[0] = wire.Row(key=rows[0].key, probabilities=(0.9, 0.05, 0.05))
                case "nan":
                    rows[0] = wire.Row(key=rows[0].key, probabilities=(float("nan"), 0.1))
                case "garbage":
                    return web.Response(body=b"\xc1")
                case _:
                    return web.Response()
            return web.Response(body=msgspec.msgpack.encode(wire.Answer(version=1, model=model, rows=tuple(rows))))

        pool.answer = other
        before = metric("failures_total", reason="malformed")
        for row in client.submit([marked(0.1), marked(0.2)]):
            with pytest.raises(Unclassified):
                row.result(20)
        assert metric("failures_total", reason="malformed") == before + 1


def test_a_window_that_is_not_answered_in_time_is_given_up_and_the_next_is_answered() -> None:
    with a_pool() as pool, a_client(pool, deadline_s=1.0) as client:
        pool.hold_s = 5.0
        (row,) = client.submit([marked(0.1)])
        with pytest.raises(Unclassified, match="in time"):
            row.result(20)
        pool.hold_s = 0.0
        assert female(client, 0.2) == [pytest.approx(0.2, abs=1e-4)]
        assert metric("failures_total", reason="late") >= 1


def test_a_slow_pool_is_sent_ever_less_until_it_answers_in_time_and_nothing_piles_up() -> None:
    with a_pool() as pool, a_client(pool, deadline_s=0.1) as client:
        pool.hold_s = 5.0
        most = client.free_capacity
        for row in client.submit([marked(0.1)] * most):
            with pytest.raises(Unclassified):
                row.result(20)
        assert client.free_capacity <= most // 2
        pool.hold_s = 0.0
        block_until(lambda: client.is_up and client.free_capacity > 0)
        before = client.free_capacity

        def is_sent_more() -> bool:
            # On a busy machine a window is late now and then.
            with suppress(Unclassified):
                female(client, *[0.1] * client.free_capacity)
            return client.free_capacity > before

        block_until(is_sent_more)


def test_a_busy_pool_is_sent_less_at_once() -> None:
    with a_pool() as pool, a_client(pool) as client:
        pool.answer = lambda _: web.Response(status=503)
        most = client.free_capacity
        for row in client.submit([marked(0.1)] * 8):
            with pytest.raises(Unclassified, match="too much"):
                row.result(20)
        assert client.free_capacity < most
        assert client.is_up


def test_a_request_whose_replica_dies_is_made_again() -> None:
    """Ray Serve answers 500 for a request whose replica was killed, and has another replica for the next."""
    with a_pool() as pool, a_client(pool) as client:

        def once(_: bytes) -> web.Response:
            pool.answer = None
            return web.Response(status=500)

        pool.answer = once
        assert female(client, 0.3) == [pytest.approx(0.3, abs=1e-4)]
        assert pool.requests == 2
        assert client.is_up


def test_a_pool_that_has_gone_is_told_once_not_asked_meanwhile_and_found_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "voxgender.pool")
    with a_pool() as pool, a_client(pool) as client:
        pool.stop()
        for row in client.submit([marked(0.1)]):
            with pytest.raises(Unclassified):
                row.result(20)
        assert (client.is_up, client.free_capacity, metric("up")) == (False, 0, 0.0)
        asked = metric("requests_total")
        pool.start()
        block_until(lambda: client.is_up)
        assert metric("requests_total") == asked
        assert metric("up") == 1.0
        assert female(client, 0.4) == [pytest.approx(0.4, abs=1e-4)]
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_pool_that_hangs_is_taken_to_be_gone() -> None:
    """A machine that was unplugged refuses nothing: its callers would wait for each window's deadline for ever."""
    with a_pool() as pool, a_client(pool, deadline_s=0.1) as client:
        pool.hold_s = 5.0
        pool.describe = lambda: b"\xc1"
        for _ in range(4):
            for row in client.submit([marked(0.1)]):
                with pytest.raises(Unclassified):
                    row.result(20)
        block_until(lambda: not client.is_up)
        pool.hold_s, pool.describe = 0.0, None
        block_until(lambda: client.is_up)


async def test_a_caller_that_waits_no_longer_costs_the_others_of_its_request_nothing() -> None:
    """Its row could not be told any more, and those behind it in the same answer were never told either."""
    with a_pool() as pool, a_client(pool) as client:
        pool.hold_s = 0.2
        first, second = client.submit([marked(0.1), marked(0.2)])
        waiting = asyncio.ensure_future(asyncio.wrap_future(first))
        await asyncio.sleep(0)
        waiting.cancel()
        row = await asyncio.wait_for(asyncio.wrap_future(second), PATIENCE_S)
        assert row[1] == pytest.approx(0.2, abs=1e-3)
        assert client.free_capacity > 0


def test_audio_that_can_wait_waits_for_a_pool_that_has_gone() -> None:
    with a_pool() as pool, a_client(pool) as client:
        pool.stop()
        (row,) = client.submit([marked(0.6)], patient=True)
        block_until(lambda: not client.is_up)
        assert not row.done()
        pool.start()
        assert row.result(20)[1] == pytest.approx(0.6, abs=1e-4)


def test_audio_that_can_wait_does_not_wait_for_ever() -> None:
    with a_pool() as pool, a_client(pool, patient_s=0.5) as client:
        pool.stop()
        with pytest.raises(Unclassified):
            client(np.stack([marked(0.6)]))


class TestOtherModels:
    def test_the_same_labels_in_another_order_are_taken(self) -> None:
        with a_pool() as pool, a_client(pool) as client:
            assert female(client, 0.2) == [pytest.approx(0.2, abs=1e-4)]
            pool.service = type(pool.service)(Marks("newer", ("female", "male")))
            assert female(client, 0.7) == [pytest.approx(0.7, abs=1e-4)]
            assert (client.name, client.labels) == ("newer", ("male", "female"))

    def test_other_labels_are_refused_in_one_line_until_the_right_ones_are_back(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with a_pool() as pool, a_client(pool) as client:
            right = pool.service
            pool.service = type(pool.service)(Marks("moods", ("happy", "sad")))
            for row in client.submit([marked(0.1)]):
                with pytest.raises(Unclassified):
                    row.result(20)
            block_until(lambda: not client.is_up)
            pool.service = right
            block_until(lambda: client.is_up)
        (told,) = {record.getMessage() for record in caplog.records if "moods" in record.getMessage()}
        assert "its model moods tells happy, sad, but calls were told male, female" in told

    def test_another_version_is_refused_by_name(self) -> None:
        with a_pool() as pool:
            pool.describe = lambda: msgspec.msgpack.encode({"version": 7, "release": "9.9"})
            with pytest.raises(ModelError) as refused:
                PoolClassifier(HOST, pool.port)
        assert str(refused.value) == (
            f"the pool at ray://{HOST}:{pool.port}: it speaks version 7 of the pool's protocol (voxgender 9.9), this "
            f"node version {wire.VERSION} (voxgender {__version__}): install the same release for both"
        )

    def test_another_version_that_comes_in_mid_call_is_refused_too(self, caplog: pytest.LogCaptureFixture) -> None:
        newer = msgspec.msgpack.encode({"version": 7, "release": "9.9"})
        with a_pool() as pool, a_client(pool) as client:
            pool.describe = lambda: newer
            pool.answer = lambda _: web.Response(body=newer, status=409)
            for row in client.submit([marked(0.1)]):
                with pytest.raises(Unclassified):
                    row.result(20)
            block_until(lambda: not client.is_up)
        assert "speaks version 7" in caplog.text


class TestWrongAddresses:
    def refusal(self, host: str, port: int) -> str:
        with pytest.raises(ModelError) as refused:
            PoolClassifier(host, port)
        assert "\n" not in str(refused.value)
        return str(refused.value)

    def test_nothing_listens(self) -> None:
        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
        assert "connection refused" in self.refusal(HOST, port)

    def test_no_such_host(self) -> None:
        assert "no such host" in self.refusal("no-such-host.invalid", 8_000)

    def test_another_http_server(self) -> None:
        with a_pool() as pool:
            pool.describe = lambda: b"<html>"
            assert "what answers there is no pool" in self.refusal(HOST, pool.port)

    def test_what_speaks_no_http(self) -> None:
        """Ray's own port answers in the language of gRPC."""

        def greet(server: socket.socket) -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00@\x00")

        with socket.create_server((HOST, 0)) as server:
            greeter = threading.Thread(target=greet, args=(server,))
            greeter.start()
            told = self.refusal(HOST, server.getsockname()[1])
            greeter.join()
        assert "HTTP" in told


def test_closing_gives_up_what_is_on_its_way_and_leaves_no_thread() -> None:
    with a_pool() as pool:
        pool.hold_s = 5.0
        client = PoolClassifier(HOST, pool.port)
        (row,) = client.submit([marked(0.1)])
        assert pool.seen.acquire(timeout=20)
        client.close()
        client.close()
        with pytest.raises(Unclassified):
            row.result(0)
        with pytest.raises(Unclassified):
            client.submit([marked(0.1)])
        assert "voxgender-pool" not in {thread.name for thread in threading.enumerate()}
