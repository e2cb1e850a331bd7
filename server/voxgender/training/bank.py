"""Hold audio in the memory of the processor that trains, and cut crops out of it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from voxgender.training.recordings import FRAME, as_floats, loud_frames


class Bank:
    """Takes of recordings, one after another.

    Args:
        takes: int16, shape ``(samples,)`` each; the end of a take that fills no frame is left out.
        device: processor of torch.
    """

    def __init__(self, takes: Sequence[npt.NDArray[np.int16]], device: str) -> None:
        self._device = device
        whole = [np.pad(take, (0, max(0, FRAME - take.size))) for take in takes]
        whole = [take[: take.size // FRAME * FRAME] for take in whole]
        self.frames = np.array([take.size // FRAME for take in whole])
        """Frames of each take, int64."""
        self._begins = self._moved(np.cumsum(self.frames) - self.frames)
        self._ends = self._begins + self._moved(self.frames)
        self._audio = self._moved(np.concatenate(whole).reshape(-1, FRAME))
        loud = [loud_frames(as_floats(take)) for take in whole]
        self._loud = self._moved(np.concatenate(loud))

    def crops(self, takes: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], frames: int) -> tuple[Tensor, Tensor]:
        """Cut a crop out of each of some takes.

        Args:
            takes: indices of takes, ``(batch,)``.
            starts: first frame of each crop, ``(batch,)``; outside of the take there is silence.
            frames: length of the crops.

        Returns:
            Audio, float32 ``(batch, frames * FRAME)``; and bool ``(batch, frames)``, True for loud frames.
        """
        chosen = self._moved(takes)
        at = (self._begins[chosen] + self._moved(starts))[:, None] + torch.arange(frames, device=self._device)
        inside = (at >= self._begins[chosen][:, None]) & (at < self._ends[chosen][:, None])
        at = torch.where(inside, at, 0)
        audio = self._audio[at] * inside[..., None]
        return audio.flatten(1).float() / 32767, self._loud[at] & inside

    def excerpts(self, takes: npt.NDArray[np.int64], frames: int, rng: np.random.Generator) -> Tensor:
        """Cut crops from random places, float32 ``(batch, frames * FRAME)``; short takes are repeated."""
        chosen, lengths = self._moved(takes), self.frames[takes]
        starts = self._moved((rng.random(takes.size) * np.maximum(1, lengths - frames + 1)).astype(np.int64))
        at = (starts[:, None] + torch.arange(frames, device=self._device)) % self._moved(lengths)[:, None]
        return self._audio[self._begins[chosen][:, None] + at].flatten(1).float() / 32767

    def _moved(self, array: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device, non_blocking=True)
