import time
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.pool.pools import Marks, marked
from voxgender.inference.classifier import Probabilities, Windows
from voxgender.pool import wire
from voxgender.pool.service import Refused, Service


@pytest.fixture
def model() -> Marks:
    return Marks()


@pytest.fixture
def service(model: Marks) -> Service:
    made = Service(model)
    model.batches.clear()
    return made


def request(service: Service, *windows: tuple[int, float, int], deadline_ms: int = 1_000, **other: Any) -> bytes:
    """A request of (key, mark, samples) each."""
    packed = [(key, wire.pack(marked(mark, samples))) for key, mark, samples in windows]
    made = wire.Request(
        version=wire.VERSION,
        model=service.description.id,
        windows=tuple(
            wire.WindowMessage(key=key, deadline_ms=deadline_ms, peak=one.peak, samples=one.samples)
            for key, one in packed
        ),
    )
    return msgspec.msgpack.encode(msgspec.structs.replace(made, **other))


def rows(answer: bytes) -> dict[int, float | None]:
    """The probability of ``female`` by key."""
    read = msgspec.msgpack.decode(answer, type=wire.Answer)
    return {row.key: row.probabilities[1] if row.probabilities else None for row in read.rows}


def test_windows_of_many_requests_are_classified_together_by_size_and_keep_their_keys(
    service: Service, model: Marks
) -> None:
    asked = [
        service.read(request(service, (1, 0.1, 16_000), (2, 0.2, 8_000)), 0.0),
        service.read(request(service, (1, 0.3, 16_000)), 0.0),
    ]
    first, second = service.classify(asked, lambda: 0.5)
    assert rows(first) == {1: pytest.approx(0.1, abs=1e-4), 2: pytest.approx(0.2, abs=1e-4)}
    assert rows(second) == {1: pytest.approx(0.3, abs=1e-4)}
    assert sorted(model.batches) == [1, 2]


def test_a_window_whose_time_has_passed_costs_nothing(service: Service, model: Marks) -> None:
    late = service.read(request(service, (5, 0.1, 16_000), deadline_ms=100), 0.0)
    early = service.read(request(service, (6, 0.2, 16_000), deadline_ms=900), 0.0)
    answers = service.classify([late, early], lambda: 0.5)
    assert rows(answers[0]) == {5: None}
    assert rows(answers[1]) == {6: pytest.approx(0.2, abs=1e-4)}
    assert model.batches == [1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"{}",
        msgspec.msgpack.encode([1, 2]),
        msgspec.msgpack.encode({"version": 1, "model": "x", "windows": []}),
        msgspec.msgpack.encode({"version": 1, "model": "x", "windows": [[1, 0, 1.0, b"ab"]]}),
        msgspec.msgpack.encode({"version": 1, "model": "x", "windows": [[1, 10, float("nan"), b"ab"]]}),
        msgspec.msgpack.encode({"version": 1, "model": "\ud800".encode("utf-8", "surrogatepass"), "windows": 1}),
        b"\x91" * 100_000,
    ],
)
def test_what_is_no_request_is_refused(service: Service, body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        service.read(body, 0.0)
    assert refused.value.status == 400


@pytest.mark.parametrize("windows", [((1, 0.1, 7_999),), tuple((key, 0.1, 8_000) for key in range(65))])
def test_windows_that_the_model_cannot_take_are_refused(
    service: Service, windows: tuple[tuple[int, float, int], ...]
) -> None:
    with pytest.raises(Refused) as refused:
        service.read(request(service, *windows), 0.0)
    assert refused.value.status == 400


@pytest.mark.parametrize("other", [{"version": 2}, {"model": "another"}])
def test_a_request_for_another_model_or_version_is_told_which_this_is(service: Service, other: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        service.read(request(service, (1, 0.1, 16_000), **other), 0.0)
    assert refused.value.status == 409
    assert msgspec.msgpack.decode(refused.value.body, type=wire.Description) == service.description


def test_a_slow_model_is_sent_few_windows_at_once() -> None:
    class Slow(Marks):
        def __call__(self, windows: Windows) -> Probabilities:
            time.sleep(0.02 * len(windows))
            return super().__call__(windows)

    service = Service(Slow())
    assert service.description.together <= 2


def test_windows_that_become_late_while_others_are_classified_are_left_out(model: Marks) -> None:
    """A batch of a large model takes seconds; its last windows would keep those that came meanwhile from their turn."""
    now = 0.0

    class Slow(Marks):
        def __call__(self, windows: Windows) -> Probabilities:
            nonlocal now
            now += 0.1 * len(windows)
            time.sleep(0.03 * len(windows))
            return super().__call__(windows)

    service = Service(Slow())
    now = 0.0
    asked = service.read(request(service, *((key, 0.5, 8_000) for key in range(10)), deadline_ms=350), 0.0)
    (answer,) = service.classify([asked], lambda: now)
    assert [value is not None for value in rows(answer).values()] == [True] * 4 + [False] * 6


def test_a_model_that_gives_nan_is_not_healthy(service: Service, model: Marks, monkeypatch: pytest.MonkeyPatch) -> None:
    service.check()
    monkeypatch.setattr(Marks, "__call__", lambda _, windows: np.full((len(windows), 2), np.nan, dtype=np.float32))
    with pytest.raises(RuntimeError, match="NaN"):
        service.check()
