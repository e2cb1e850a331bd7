from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from voxgender.training.bank import Bank
from voxgender.training.channels import Chance
from voxgender.training.crops import SIZE
from voxgender.training.fresh import DeviceTakes, FreshBatches
from voxgender.training.manifest import KINDS, read_manifest, with_split
from voxgender.training.network import BANDS, ROW
from voxgender.training.phase import BEST, Phase, PhaseOptions, load_weights
from voxgender.training.preparation import Material, Mixture, PreparationOptions, crops_of, prepare
from voxgender.training.recordings import FRAME
from voxgender.training.scoring import windows_of


@pytest.fixture(scope="module")
def material(corpus: Path, cache: Path) -> Material:
    clips = with_split(read_manifest(corpus), "train")
    options = PreparationOptions(resynthesised_speakers=2, variants=2, cache=cache, workers=1)
    return prepare(clips, [], options)


def batches(material: Material, **options: int) -> FreshBatches:
    takes = DeviceTakes(material, "cpu", workers=1)
    return FreshBatches(takes, Mixture(), options.get("size", 12), options.get("seed", 0))


def test_a_batch_depends_on_the_seed_and_the_step_alone(material: Material) -> None:
    one, again, other = batches(material), batches(material), batches(material, seed=1)
    one.batch(6)
    first, second = one.batch(7), again.batch(7)
    torch.testing.assert_close(first.envelopes, second.envelopes, rtol=0, atol=0)
    torch.testing.assert_close(first.kinds, second.kinds, rtol=0, atol=0)
    for different in (one.batch(8), other.batch(7)):
        assert different.envelopes.shape != first.envelopes.shape or not torch.equal(
            different.envelopes, first.envelopes
        )


def test_batches_hold_both_sexes_and_noise_as_prepared_ones_do(material: Material, tmp_path: Path) -> None:
    made = batches(material, size=50)
    counts = torch.stack([made.batch(step).kinds.argmax(dim=1).bincount(minlength=3) for step in range(3)]).sum(dim=0)
    crops = crops_of(material, Mixture(), tmp_path, count=20, seed=0, workers=1).crops
    assert crops.sources.min() == -1
    shares = dict(zip(KINDS, (counts / counts.sum()).tolist(), strict=True))
    assert shares["noise"] == pytest.approx(0.14, abs=0.01)
    assert shares["male"] == pytest.approx(shares["female"], abs=0.15)
    batch = made.batch(0)
    assert batch.envelopes.shape[::2] == (50, BANDS)
    assert batch.envelopes.isfinite().all()
    assert batch.envelopes.dtype == torch.float32
    assert batch.vectors is None


def test_a_material_without_noise_gives_noise_all_the_same(material: Material) -> None:
    batch = batches(replace(material, noises=[])).batch(0)
    assert batch.kinds[:, KINDS.index("noise")].gt(0.9).any()
    assert batch.envelopes.isfinite().all()


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_batches_may_be_small(material: Material, size: int) -> None:
    """Two of sixteen windows are noise, and neither is steady: an FFT of no rows ended in an error of MKL."""
    made = batches(material, size=size)
    for step in range(2):
        batch = made.batch(step)
        assert len(batch.envelopes) == len(batch.kinds) == len(batch.voices) == size
        assert batch.envelopes.isfinite().all()


def test_crops_outside_of_a_take_are_silent_and_never_of_another_take() -> None:
    rng = np.random.default_rng(0)
    takes = [np.full(FRAME * frames + 7, 1000 * (1 + index), np.int16) for index, frames in enumerate((3, 9, 1))]
    bank = Bank([*takes, rng.integers(-9, 9, 5).astype(np.int16)], "cpu")
    assert bank.frames.tolist() == [3, 9, 1, 1]
    audio, loud = bank.crops(np.array([0, 1, 2]), np.array([-2, 4, -5]), 6)
    rows = (audio.reshape(-1, 6, FRAME) * 32767).round().mean(dim=2)
    assert rows.tolist() == [[0, 0, 1000, 1000, 1000, 0], [2000] * 5 + [0], [0] * 5 + [3000]]
    torch.testing.assert_close(loud, rows > 0)
    repeated = bank.excerpts(np.array([2, 0]), 5, rng)
    assert (repeated.reshape(-1, 5, FRAME).mean(dim=2) * 32767).round().tolist() == [[3000] * 5, [1000] * 5]


def test_the_loud_part_of_a_crop_is_what_windows_lie_in(material: Material) -> None:
    made = batches(material)
    loud = torch.zeros(2, SIZE // ROW, dtype=torch.bool)
    loud[0, 70:90] = True
    starts = torch.stack([made._starts(loud, 25, Chance((0, step), "cpu")) for step in range(200)])
    assert starts[:, 0].min() >= 70 - 25 + 10
    assert starts[:, 0].max() <= 75
    assert starts[:, 1].min() < 10
    assert starts[:, 1].max() > 65


def test_takes_come_up_as_often_as_in_prepared_crops(material: Material) -> None:
    """Extra takes of raised voices, the share of others among theirs, both sexes alike."""
    takes = DeviceTakes(material, "cpu", workers=1)
    chances = takes.chances(Mixture(extra_resynthesised=0.4, resynthesised=0.8))
    assert chances.sum() == pytest.approx(1)
    men = np.array([one.clip.label == "male" for one in material.labelled])[takes.sources]
    assert chances[men].sum() == pytest.approx(0.5)
    retaken = np.array([one.count > 1 for one in material.labelled])[takes.sources]
    # Two of six speakers are resynthesised: a third of the draws, of these 0.8, and 0.4 more.
    assert chances[~takes.plain].sum() == pytest.approx((0.8 / 3 + 0.4) / 1.4)
    assert (chances[~retaken] > 0).all()
    assert takes.plain[~retaken].all()


def test_a_phase_learns_from_fresh_windows_to_tell_people_it_has_not_heard(
    material: Material, corpus: Path, tmp_path: Path
) -> None:
    options = PhaseOptions(
        name="train",
        folder=tmp_path,
        steps=60,
        check_every=30,
        learning_rate=2e-3,
        batch=16,
        hidden=32,
        layers=1,
        seed=0,
        device="cpu",
        kept_out="",
    )
    chosen = windows_of(with_split(read_manifest(corpus), "dev"))
    Phase(options, batches(material, size=16), chosen).run()
    _, found = load_weights(tmp_path / BEST)
    assert all(score.files == 1 for score in found.scores if score.kind != "noise")
