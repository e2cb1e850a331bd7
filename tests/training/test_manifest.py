from collections.abc import Callable
from pathlib import Path

import pytest

from voxgender.errors import ManifestError
from voxgender.training.manifest import read_manifest, with_split

Write = Callable[..., Path]


def test_paths_are_relative_to_the_manifest(write_manifest: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_manifest("path,label", "a.wav,male", files=("a.wav",))
    monkeypatch.chdir("/")
    (clip,) = read_manifest(manifest)
    assert clip.path == manifest.parent / "a.wav"


def test_further_columns_are_read_or_passed_over(write_manifest: Write) -> None:
    manifest = write_manifest(
        "licence,speaker,label,path,corpus,split", "CC0,anna, Female ,a.wav,mine,dev", files=("a.wav",)
    )
    (clip,) = read_manifest(manifest)
    assert (clip.label, clip.speaker, clip.corpus, clip.split) == ("female", "anna", "mine", "dev")


def test_a_clip_without_a_speaker_is_its_own(write_manifest: Write) -> None:
    manifest = write_manifest("path,label", "a.wav,male", "b.wav,male", files=("a.wav", "b.wav"))
    assert [clip.speaker for clip in read_manifest(manifest)] == ["a.wav", "b.wav"]


def test_human_sounds_are_learned_as_noise(write_manifest: Write) -> None:
    manifest = write_manifest("path,label", "a.wav,human-sound", files=("a.wav",))
    (clip,) = read_manifest(manifest)
    assert clip.kind == "noise"


def test_splits_are_told_apart(write_manifest: Write) -> None:
    manifest = write_manifest("path,label,split", "a.wav,male,train", "b.wav,,dev", files=("a.wav", "b.wav"))
    (clip,) = with_split(read_manifest(manifest), "dev")
    assert clip.path.name == "b.wav"
    with pytest.raises(ValueError, match="no label"):
        _ = clip.kind


def test_a_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    manifest = tmp_path / "manifest.csv"
    manifest.write_bytes("path,label\r\na.wav,male\r\n".encode("utf-8-sig"))
    assert len(read_manifest(manifest)) == 1


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["path,gender", "a.wav,male"], "no column label"),
        (["a.wav,male"], "no column label and path"),
        (["path,label", "a.wav,male", "a.wav,boy"], "line 3: label 'boy' is none of male, female, noise"),
        (["path,label", "b.wav,male"], "line 2: .*b.wav: no such file"),
        (["path,label", ",male"], "line 2: no path"),
        (["path,label", "a.wav"], None),
        (["path,label"], "lists no recording"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_line(write_manifest: Write, lines: list[str], says: str | None) -> None:
    manifest = write_manifest(*lines, files=("a.wav",))
    if says is None:
        assert read_manifest(manifest)[0].label == ""
    else:
        with pytest.raises(ManifestError, match=says):
            read_manifest(manifest)


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")


def test_a_line_without_end_is_read_no_further() -> None:
    """A device has one; it was read until the memory was full."""
    with pytest.raises(ManifestError, match="a line has more than"):
        read_manifest("/dev/zero")


def test_a_manifest_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"path,label\n\xff\xfe\x00,male\n")
    with pytest.raises(ManifestError, match="UTF-8"):
        read_manifest(tmp_path / "m.csv")
