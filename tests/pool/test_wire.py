import hypothesis.extra.numpy as shapes
import hypothesis.strategies as some
import msgspec
import numpy as np
import pytest
from hypothesis import given

from voxgender.pool import wire


def there_and_back(samples: wire.Samples) -> wire.Samples:
    packed = wire.pack(samples)
    return wire.unpack(wire.WindowMessage(key=1, deadline_ms=1, peak=packed.peak, samples=packed.samples))


@given(shapes.arrays(np.float32, 100, elements=some.floats(-4, 4, width=32)))
def test_samples_come_back_within_a_part_in_65534_of_their_peak(samples: wire.Samples) -> None:
    error = np.abs(there_and_back(samples) - samples).max()
    assert error <= np.abs(samples).max() / 65_534 * 1.01 + 1e-20


@pytest.mark.parametrize("level", [1.0, 1e-4])
def test_a_quiet_voice_loses_no_more_than_a_loud_one(level: float) -> None:
    """Half precision and plain 16 bits each lose a part of some voices: of loud ones, or of quiet ones."""
    voice = (level * np.random.default_rng(0).normal(0, 0.2, 16_000)).astype(np.float32)
    noise = there_and_back(voice) - voice
    assert 10 * np.log10(np.mean(voice**2) / np.mean(noise**2)) > 80


@pytest.mark.parametrize("level", [0.0, 1e-45, 1.2e-38, 1e-34])
def test_silence_and_what_is_nearly_silence_is_silence(level: float) -> None:
    """A window whose peak is among the smallest numbers of float32 was scaled by more than float32 holds."""
    assert not there_and_back(np.full(10, level, dtype=np.float32)).any()


def description(**changed: object) -> wire.Description:
    told = wire.Description(
        version=1, release="0.1", model="m", labels=("male", "female"), min_window_ms=500, together=8
    )
    return msgspec.structs.replace(told, **changed)


@pytest.mark.parametrize(
    "changed", [{"model": "n"}, {"labels": ("female", "male")}, {"min_window_ms": 400}, {"version": 2}]
)
def test_models_with_other_answers_have_other_ids(changed: dict[str, object]) -> None:
    assert description(**changed).id != description().id


def test_a_pool_that_is_installed_anew_or_runs_faster_is_the_same() -> None:
    assert description(release="0.2", together=16).id == description().id


def test_any_version_can_be_hailed() -> None:
    body = msgspec.msgpack.encode({"version": 7, "release": "9.9", "another": [1]})
    assert msgspec.msgpack.decode(body, type=wire.Hail) == wire.Hail(version=7, release="9.9")
