"""Make the windows of each step anew, on a GPU: no crop is heard twice, and none has to be prepared.

The recordings lie in the memory of the device. There they are cut, mixed, sent through rooms, microphones and
telephones, and heard by the fixed first layers, a whole batch at once.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from voxgender.training.bank import Bank
from voxgender.training.batches import LENGTHS_MS, MIN_LOUD_SHARE, PROBABILITIES, Batch, Targets
from voxgender.training.channels import Chance, augmented, coloured_noise, mixed, tones
from voxgender.training.crops import SHARES, SIZE
from voxgender.training.network import ROW, envelopes, normalised
from voxgender.training.preparation import Material, Mixture
from voxgender.training.recordings import Recording, coded, pcm
from voxgender.training.sampling import SEXES, SpeakerSampler

_ROWS = SIZE // ROW
_CODED_EVERY = 3
"""One recording in so many has a take that went through Opus, which comes up as often as the plain one."""


class DeviceTakes:
    """The takes of all recordings, in the memory of a device.

    Args:
        material: recordings and their targets.
        device: processor of torch.
        workers: processes that encode.

    Attributes:
        voices: takes of voices.
        noises: recordings without a voice; None without any.
        sources: index of the recording of each take, int64.
        plain: True for takes that are not resynthesised, bool.
        targets: targets of the recordings.
    """

    def __init__(self, material: Material, device: str, *, workers: int) -> None:
        everybody = [*material.labelled, *material.others]
        takes = [(index, one, take) for index, one in enumerate(everybody) for take in range(one.count)]
        through_opus = coded(everybody[::_CODED_EVERY], workers=workers)
        takes += [(_CODED_EVERY * place, one, 0) for place, one in enumerate(through_opus)]
        self.device = device
        self.material = material
        self.sources = np.array([index for index, _, _ in takes])
        self.plain = np.array([take == 0 for _, _, take in takes])
        self.voices = Bank(_read([(one, take) for _, one, take in takes]), device)
        self.noises = Bank(_read([(one, 0) for one in material.noises]), device) if material.noises else None
        self.targets = Targets(material, device)

    def chances(self, mixture: Mixture) -> npt.NDArray[np.float64]:
        """Return the probability of each take, which together are those of prepared crops."""
        of_recordings = _chances(self.material, mixture)
        chances = np.zeros(self.sources.size)
        for plain in (True, False):
            takes = np.flatnonzero(self.plain == plain)
            counts = np.bincount(self.sources[takes], minlength=len(of_recordings))
            chances[takes] = (of_recordings[:, 0 if plain else 1] / np.maximum(1, counts))[self.sources[takes]]
        total: np.float64 = chances.sum()
        return chances / total


class FreshBatches:
    """Batches of windows of 0.5 to 1.5 s. That of a step depends on the seed, the step and the device alone.

    Args:
        takes: takes of recordings.
        mixture: shares of the kinds of recordings.
        size: windows in a batch.
        seed: random seed.
    """

    def __init__(self, takes: DeviceTakes, mixture: Mixture, size: int, seed: int) -> None:
        self._device, self._size, self._seed = takes.device, size, seed
        self._sources, self._plain, self._targets = takes.sources, takes.plain, takes.targets
        self._voices, self._noises = takes.voices, takes.noises
        self._until = np.cumsum(takes.chances(mixture))

    def batch(self, step: int) -> Batch:
        chance = Chance((self._seed, step), self._device)
        rows = int(chance.host.choice(LENGTHS_MS, p=PROBABILITIES)) * 16 // ROW
        voices = self._size - round(SHARES["noise"] * self._size)
        takes = np.searchsorted(self._until, chance.host.random(voices)).clip(max=len(self._until) - 1)
        silent = self._size - voices
        spare = self._voices.frames[takes] - _ROWS
        # A take that is shorter than a crop lies anywhere in it.
        begins = np.sign(spare) * (chance.host.random(voices) * (np.abs(spare) + 1)).astype(np.int64)
        spoken, loud = self._spoken(takes, begins, chance)
        loud = torch.cat([loud, loud.new_zeros(silent, _ROWS)])
        audio = augmented(
            torch.cat([spoken, self._silent_of_voices(silent, chance)]),
            chance,
            noises=(lambda count: self._noise(count, chance)) if self._noises is not None else None,
            voices=lambda count: self._anybody(count, chance),
        )
        starts = self._starts(loud, rows, chance)
        at = starts[:, None] * ROW + torch.arange(rows * ROW, device=audio.device)
        return self._targets.batch(
            envelopes(normalised(audio.gather(1, at))),
            chance.moved(np.append(self._sources[takes], np.full(silent, -1))),
            chance.moved(np.append(self._plain[takes], np.zeros(silent, np.bool_))),
            chance.moved(np.append(begins, np.zeros(silent, np.int64))) + starts + rows // 2,
        )

    def _spoken(
        self, takes: npt.NDArray[np.int64], begins: npt.NDArray[np.int64], chance: Chance
    ) -> tuple[Tensor, Tensor]:
        audio, loud = self._voices.crops(takes, begins, _ROWS)
        # Somebody starts or stops to speak within the crop.
        quiet = chance.uniform(_ROWS // 8, _ROWS * 3 / 4, takes.size, 1) * (chance.uniform(0, 1, takes.size, 1) < 0.3)
        row = torch.arange(_ROWS, device=audio.device)
        spoken = torch.where(chance.below(2, takes.size, 1) == 0, row >= quiet, row < _ROWS - quiet)
        return audio * spoken.repeat_interleave(ROW, dim=1), loud & spoken

    def _silent_of_voices(self, count: int, chance: Chance) -> Tensor:
        """Make sound without a voice: noise, sometimes two at once; tones."""
        steady, melodic = (round(share * count) for share in (0.12, 0.08))
        if self._noises is None:
            steady = count - melodic
        recorded = count - steady - melodic
        # An FFT of no rows at all is an error.
        made = [make(some, SIZE, chance) for make, some in ((coloured_noise, steady), (tones, melodic)) if some]
        if recorded:
            audio, behind = self._noise(recorded, chance), self._noise(recorded, chance)
            both = chance.uniform(0, 1, recorded, 1) < 0.2
            made.append(torch.where(both, mixed(audio, behind, chance.uniform(0, 12, recorded, 1)), audio))
        return torch.cat(made) if made else torch.empty(0, SIZE, device=self._device)

    def _noise(self, count: int, chance: Chance) -> Tensor:
        assert self._noises is not None
        return self._noises.excerpts(chance.host.integers(self._noises.frames.size, size=count), _ROWS, chance.host)

    def _anybody(self, count: int, chance: Chance) -> Tensor:
        return self._voices.excerpts(chance.host.integers(self._voices.frames.size, size=count), _ROWS, chance.host)

    def _starts(self, loud: Tensor, rows: int, chance: Chance) -> Tensor:
        """Choose the first row of each window: a share of it has to be loud, if the crop allows that."""
        until = torch.nn.functional.pad(loud.int().cumsum(dim=1), (1, 0))
        within = until[:, rows:] - until[:, :-rows]
        allowed = within >= within.amax(dim=1, keepdim=True).clamp_max(int(np.ceil(MIN_LOUD_SHARE * rows)))
        return (chance.uniform(0, 1, *allowed.shape) * allowed + allowed).argmax(dim=1)


def _chances(material: Material, mixture: Mixture) -> npt.NDArray[np.float64]:
    """Return the chances that each recording comes up as it is, and resynthesised: ``(recordings, 2)``."""
    everybody = [*material.labelled, *material.others]
    place = {one: index for index, one in enumerate(everybody)}
    known, named = SpeakerSampler(material.labelled), SpeakerSampler(material.others)
    raised = SpeakerSampler([one for one in material.labelled if one.count > 1])
    extra = mixture.extra_resynthesised if all(sex in raised for sex in SEXES) else 0.0
    found = np.zeros((len(everybody), 2))
    for sex in SEXES:
        own = (mixture.labelled_share if sex in named else 1.0) if sex in known else 0.0
        for sampler, share in ((known, own), (named, 1 - own)):
            for one, chance in sampler.chances(sex).items() if share else ():
                resynthesised = mixture.resynthesised if one.count > 1 else 0.0
                found[place[one]] += share * chance * np.array([1 - resynthesised, resynthesised])
        for one, chance in raised.chances(sex).items() if extra else ():
            found[place[one], 1] += extra * chance
    return found


def _read(takes: Sequence[tuple[Recording, int]]) -> list[npt.NDArray[np.int16]]:
    # On one thread: Python 3.11 may fail to parse the files' headers on several (gh-106905).
    return [pcm(recording.file, take) for recording, take in takes]
