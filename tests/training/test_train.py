from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from voxgender.errors import ManifestError, SettingsError
from voxgender.training import train as training
from voxgender.training.crops import crops
from voxgender.training.export import best_network
from voxgender.training.manifest import KINDS, read_manifest, with_split
from voxgender.training.network import Pupil, build, filter_bank
from voxgender.training.train import CHECKPOINT, TrainOptions, train
from voxgender.training.voices import recordings


@pytest.fixture
def options(corpus: Path, cache: Path, tmp_path: Path) -> TrainOptions:
    return TrainOptions(
        manifest=corpus,
        out=tmp_path / "run",
        steps=40,
        batch=16,
        hidden=32,
        layers=1,
        crops=64,
        variants=1,
        check_every=20,
        cache=cache,
        workers=1,
    )


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def weights(run: Path) -> dict[str, torch.Tensor]:
    network, _ = best_network(run)
    return network.state_dict()


def test_it_learns_to_tell_voices_of_people_it_has_not_heard(options: TrainOptions) -> None:
    found = train(replace(options, steps=80, check_every=40))
    voices = [score for score in found.scores if score.kind != "noise"]
    assert {(score.corpus, score.kind) for score in voices} == {("babble", "male"), ("babble", "female")}
    assert all(score.files == 1 for score in voices)


def test_an_interrupted_run_goes_on_to_the_very_same_weights(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = train(options)
    interrupted = replace(options, out=tmp_path / "interrupted")

    def checks(times: int) -> Callable[..., Any]:
        real = training.score

        def check(*arguments: Any, **options: Any) -> Any:
            nonlocal times
            times -= 1
            if times < 0:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        return check

    with monkeypatch.context() as patched:
        patched.setattr(training, "score", checks(1))
        with pytest.raises(KeyboardInterrupt):
            train(interrupted)
    assert torch.load(interrupted.out / CHECKPOINT, weights_only=True)["step"] == 20
    assert train(interrupted) == whole
    for name, value in weights(options.out).items():
        torch.testing.assert_close(weights(interrupted.out)[name], value, rtol=0, atol=0, msg=name)


def test_a_finished_run_has_nothing_left_to_do(options: TrainOptions) -> None:
    found = train(options)
    before = (options.out / CHECKPOINT).stat().st_mtime_ns
    assert train(options) == found
    assert (options.out / CHECKPOINT).stat().st_mtime_ns == before


def test_another_seed_makes_another_network(options: TrainOptions, tmp_path: Path) -> None:
    other = replace(options, out=tmp_path / "other", seed=1)
    train(options)
    train(other)
    assert not torch.equal(weights(options.out)["classifier.weight"], weights(other.out)["classifier.weight"])


def test_a_folder_of_another_run_is_left_alone(options: TrainOptions) -> None:
    train(options)
    with pytest.raises(SettingsError, match="holds a run with other options"):
        train(replace(options, learning_rate=1e-4))
    train(replace(options, threads=2))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["{0}/male0.wav,male,train", "{0}/noise0.wav,noise,train"], "no recording labelled female to learn from"),
        (["{0}/male0.wav,male,train", "{0}/female0.wav,female,train", "{0}/male1.wav,male,dev"], "female to choose by"),
        (["{0}/male0.wav,,train"], "no recording labelled female to learn from"),
    ],
)
def test_both_sexes_are_needed(
    options: TrainOptions, write_manifest: Callable[..., Path], corpus: Path, rows: list[str], says: str
) -> None:
    manifest = write_manifest("path,label,split", *(row.format(corpus.parent) for row in rows))
    with pytest.raises(ManifestError, match=says):
        train(replace(options, manifest=manifest))


def test_without_splits_some_speakers_are_kept_to_choose_by(
    options: TrainOptions, write_manifest: Callable[..., Path], corpus: Path
) -> None:
    names = [(label, index) for label in ("male", "female") for index in range(4)]
    manifest = write_manifest("path,label", *(f"{corpus.parent}/{label}{index}.wav,{label}" for label, index in names))
    learned, chosen = training._divided(read_manifest(manifest), manifest, seed=0)
    assert {clip.kind for clip in chosen} == {"male", "female"}
    assert len(chosen) == 2
    assert not {clip.speaker for clip in chosen} & {clip.speaker for clip in learned}


def test_crops_do_not_depend_on_the_workers_and_are_made_once(corpus: Path, cache: Path, tmp_path: Path) -> None:
    clips = with_split(read_manifest(corpus), "train")
    learned = recordings(clips, cache / "voices", variants=1, seconds=8.0, workers=1)
    made = [
        crops(learned, tmp_path / folder, count=24, resynthesised=0.5, seed=3, workers=workers)
        for folder, workers in (("two", 2), ("one", 1))
    ]
    np.testing.assert_array_equal(made[0].audio, made[1].audio)
    np.testing.assert_array_equal(made[0].kinds, made[1].kinds)
    (file,) = (tmp_path / "one").iterdir()
    before = file.stat().st_mtime_ns
    again = crops(learned, tmp_path / "one", count=24, resynthesised=0.5, seed=3, workers=1)
    assert file.stat().st_mtime_ns == before
    np.testing.assert_array_equal(again.audio, made[0].audio)
    voiced = (again.traits[:, :, 0] > 0).any(axis=1)
    np.testing.assert_array_equal(voiced, again.kinds != KINDS.index("noise"))


def test_the_first_layer_starts_as_filters_that_each_hear_one_pitch() -> None:
    bank = filter_bank()
    loudest = np.abs(np.fft.rfft(bank, 8192)).argmax(axis=1) * 16_000 / 8192
    assert bank.shape == (256, 512)
    assert (np.diff(loudest[::4]) > 0).all()
    np.testing.assert_allclose(bank[0::4], -bank[1::4])
    assert np.abs((bank[0::4] * bank[2::4]).sum(axis=1)).max() < 0.02, "cosine and sine are not in quadrature"


def test_traits_are_compared_at_the_time_that_each_frame_hears() -> None:
    pupil = Pupil(build(hidden=32, layers=1))
    network_frames = pupil(torch.zeros(1, 16_000))[1].shape[1]
    rows = pupil._rows(network_frames, 50)
    field = 512 + 2 * 160 + 2 * 320
    assert rows[0] == field // 2 // 320
    assert (rows[1:] - rows[:-1] == 2).all()
    assert rows[-1] * 320 + field / 2 <= 16_000 + 320
