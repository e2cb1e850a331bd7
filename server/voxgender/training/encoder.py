"""Run a pretrained speaker encoder: it embeds speech so that similar voices lie close together.

L. Wan, Q. Wang, A. Papir, I. Lopez Moreno: Generalized end-to-end loss for speaker verification, ICASSP 2018. The
weights are those in the package ``resemblyzer`` (Apache-2.0), trained on VoxCeleb and LibriSpeech. Only its weights
are used: its own code needs a voice detector and librosa, and embeds one window at a time.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from voxgender.errors import SettingsError
from voxgender.training.augmentation import SAMPLE_RATE_HZ, Samples

PACKAGE = "resemblyzer"
SIZE = 256
"""Numbers of an embedding."""
WINDOW = 25_600
"""Samples of the audio of one embedding: 1.6 s."""

_BANDS = 40
_FFT, _HOP = 400, 160
LEVEL_DB = -30.0
"""RMS level that speech is scaled to, relative to full scale: the encoder's input is power, not its logarithm."""
FRAME = 320
"""Samples of a frame, 20 ms; each frame is either speech or a pause."""
_PAUSE_DB = 35.0
"""Level below its loudest frames under which speech counts as a pause."""


class SpeakerEncoder(nn.Module):
    """Three LSTM layers over 40 mel bands. Embeddings have length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_BANDS, SIZE, 3, batch_first=True)
        self.linear = nn.Linear(SIZE, SIZE)

    def forward(self, audio: Tensor) -> Tensor:
        """Embed ``(batch, samples)`` as ``(batch, SIZE)``."""
        _, (hidden, _) = self.lstm(mel_power(audio))
        return nn.functional.normalize(self.linear(hidden[-1]).relu(), dim=1, eps=1e-5)


def pretrained() -> SpeakerEncoder:
    """Load the weights that ``resemblyzer`` brings.

    Raises:
        SettingsError: the package is not installed.
    """
    # Not imported: its imports need a compiler and an old setuptools.
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SettingsError(f"--teacher {PACKAGE}: not installed; pip install 'voxgender[training]'")
    state = torch.load(Path(spec.origin).with_name("pretrained.pt"), map_location="cpu", weights_only=True)
    encoder = SpeakerEncoder()
    encoder.load_state_dict({name: state["model_state"][name] for name in encoder.state_dict()})
    return encoder.train(False)


def mel_power(audio: Tensor) -> Tensor:
    """Return the power in mel bands every 10 ms, ``(batch, 1 + samples // 160, 40)``, of audio ``(batch, samples)``."""
    spectrum = torch.stft(
        audio, _FFT, _HOP, window=torch.hann_window(_FFT, device=audio.device), pad_mode="constant", return_complex=True
    )
    return spectrum.abs().square().transpose(1, 2) @ _mel_filters().to(audio.device)


def speech_windows(audio: Samples, *, hop: int = WINDOW // 2) -> npt.NDArray[np.float32]:
    """Remove the pauses from a recording, and cut it into windows for the encoder.

    Returns:
        float32, shape ``(windows, WINDOW)``, at least one; the end of short ones is silent.
    """
    speech = _speech_frames(audio)
    if speech.any():
        audio = audio[: speech.size * FRAME].reshape(-1, FRAME)[speech].reshape(-1)
    level = float(np.sqrt(np.mean(audio**2))) if audio.size else 0.0
    audio = audio * np.float32(10 ** (LEVEL_DB / 20) / max(level, 1e-6))
    audio = np.pad(audio, (0, max(0, WINDOW - audio.size)))
    count = 1 + (audio.size - WINDOW) // hop
    windows = np.lib.stride_tricks.sliding_window_view(audio, WINDOW)[: count * hop : hop]
    return np.array(windows, dtype=np.float32)


def nearest_windows(audio: Samples, *, hop: int = WINDOW // 2) -> npt.NDArray[np.int64]:
    """Find the window of :func:`speech_windows` whose middle is nearest to each frame of a recording.

    Returns:
        Indices of windows, shape ``(frames,)``; one for recordings that are shorter than a frame.
    """
    speech = np.flatnonzero(_speech_frames(audio))
    count = 1 + max(0, speech.size * FRAME - WINDOW) // hop
    frames = max(1, audio.size // FRAME)
    if count == 1:
        return np.zeros(frames, np.int64)
    middles = speech[(np.arange(count) * hop + WINDOW // 2) // FRAME]
    nearest: npt.NDArray[np.int64] = np.searchsorted((middles[:-1] + middles[1:]) / 2, np.arange(frames))
    return nearest


def _speech_frames(audio: Samples) -> npt.NDArray[np.bool_]:
    """Find the frames that are no pauses, bool ``(frames,)``; all of them in silence."""
    frames = audio[: audio.size // FRAME * FRAME].reshape(-1, FRAME)
    power = np.mean(frames**2, axis=1) if len(frames) else np.zeros(0)
    if not power.any():
        return np.ones(len(frames), np.bool_)
    loud = power > np.quantile(power, 0.95) * 10 ** (-_PAUSE_DB / 10)
    # Pauses within words stay.
    speech: npt.NDArray[np.bool_] = np.convolve(loud, np.ones(7))[3 : 3 + len(frames)] > 0
    return speech


def _mel_filters() -> Tensor:
    """Return triangles on Slaney's mel scale, all of the same area, ``(1 + _FFT // 2, _BANDS)``, as librosa does.

    M. Slaney: Auditory Toolbox, 1998: linear up to 1 kHz, then logarithmic.
    """
    mels = np.linspace(0, _mel(SAMPLE_RATE_HZ / 2), _BANDS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    hz = np.linspace(0, SAMPLE_RATE_HZ / 2, 1 + _FFT // 2)[:, None]
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])
    return torch.from_numpy(filters.astype(np.float32))


def _mel(hz: float) -> float:
    return 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))
