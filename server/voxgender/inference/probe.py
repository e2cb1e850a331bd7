"""Try a model before it serves: noise and two voices must give probabilities that differ."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from voxgender.errors import ModelError, first_line
from voxgender.inference.classifier import SAMPLE_RATE_HZ, Windows

_SAME = 1e-4
"""Greatest difference between logarithms of probabilities that counts as none. A network may be all but sure of one
class for all that it is tried on: then only the logarithms of the others tell its verdicts apart."""
_LEAST = 1e-37
"""Least probability that is told from none, about the least of float32."""
_LARGEST_DIFFERENCE = 0.25
"""Greatest difference of a probability in two number formats; that of bf16 is some hundredths."""
_FORMANTS_HZ = (650, 1_100, 2_500)


class Network(Protocol):
    """A checkpoint's network, loaded in some runtime."""

    def __call__(self, windows: Windows) -> npt.NDArray[np.float32]:
        """Classify windows: float32 ``(batch, samples)`` to probabilities, float32 ``(batch, outputs)``."""
        ...


def check(model: str, network: Network, outputs: int, *, min_window_ms: int) -> None:
    """Run a network on noise and on two voices, of the shortest window and of one second.

    Args:
        model: the model as the user named it, for errors.
        network: what to try.
        outputs: the number of labels in the checkpoint's configuration.
        min_window_ms: the shortest window that it will be given.

    Raises:
        ModelError: it fails, or its output has another shape, holds NaN, adds up to anything but 1, or is always the
            same.
    """
    for window_ms in (min_window_ms, 1_000):
        heard = trial(window_ms)
        try:
            found = np.asarray(network(heard))
        except Exception as error:  # whatever a runtime raises
            raise ModelError(
                f"model {model}: fails on a window of {window_ms} ms, so that it cannot be used ({first_line(error)})"
            ) from error
        if found.shape != (len(heard), outputs):
            raise ModelError(
                f"model {model}: gives {'x'.join(map(str, found.shape))} numbers for {len(heard)} windows, "
                f"but its config.json has {outputs} labels"
            )
        if not np.isfinite(found).all():
            raise ModelError(
                f"model {model}: gives NaN for a voice or for noise; its weights are damaged, or its training failed"
            )
        if np.abs(found.sum(axis=1) - 1).max() > 1e-3 or found.min() < -_LEAST:
            raise ModelError(f"model {model}: gives numbers that are no probabilities")
    if np.ptp(np.log(np.maximum(found, _LEAST)), axis=0).max() <= _SAME:
        raise ModelError(
            f"model {model}: gives the same for noise, a man's voice and a woman's; its weights are damaged, or were "
            "never trained"
        )


def answers(network: Network) -> npt.NDArray[np.float32]:
    """Return a network's probabilities for noise and two voices, of one second and of two.

    On one second alone, a format that told 17 % of real windows otherwise once came out 0.2 off.
    """
    return np.concatenate([network(trial(window_ms)) for window_ms in (1_000, 2_000)])


def check_format(model: str, network: Network, exact: npt.NDArray[np.float32], precision: str) -> None:
    """Check that a network in a shorter number format says what it says in fp32.

    The numbers of fp16 end at 65504, and below 0.00006 they lose their bits: weights that training scaled otherwise are
    spoilt by it, and the voices are told for others without any NaN.

    Args:
        model: the model as the user named it, for errors.
        network: what to try.
        exact: its :func:`answers` in fp32.
        precision: its format, for errors.

    Raises:
        ModelError: it does not.
    """
    difference = np.abs(answers(network) - exact).max()
    if not difference <= _LARGEST_DIFFERENCE:
        raise ModelError(
            f"model {model}: says something else in {precision} than in fp32; use --precision bf16 or fp32"
        )


def trial(window_ms: int) -> Windows:
    """Return noise, a man's vowel and a woman's, as windows: float32, shape ``(3, samples)``."""
    samples = window_ms * SAMPLE_RATE_HZ // 1_000
    noise = np.random.default_rng(0).normal(0.0, 0.05, samples)
    return np.stack([noise, _vowel(115.0, 1.0, samples), _vowel(212.0, 1.17, samples)]).astype(np.float32)


def _vowel(pitch_hz: float, formant_scale: float, samples: int) -> npt.NDArray[np.float64]:
    """Synthesise a vowel whose pitch falls and whose loudness has the rhythm of syllables, at -22 dBFS."""
    at = np.arange(samples) / SAMPLE_RATE_HZ
    cycles = np.cumsum(pitch_hz * (1.05 - 0.1 * at)) / SAMPLE_RATE_HZ
    harmonics = np.arange(1, int(7_000 / pitch_hz))
    strength = sum(
        1 / (1 + ((harmonics * pitch_hz - formant_hz * formant_scale) / 120) ** 2) for formant_hz in _FORMANTS_HZ
    )
    voice = ((strength / harmonics)[:, None] * np.sin(2 * np.pi * harmonics[:, None] * cycles)).sum(axis=0)
    voice *= 1 + 0.6 * np.sin(2 * np.pi * 4 * at)
    level: npt.NDArray[np.float64] = voice * (0.08 / np.sqrt(np.mean(voice**2)))
    return level
