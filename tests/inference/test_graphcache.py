import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from voxgender.inference.graphcache import MODEL, WEIGHTS, GraphCache, cache_folder

Write = Callable[[Path], None]


def writing(content: bytes = b"graph", weights: bytes = b"weights") -> Write:
    def write(folder: Path) -> None:
        (folder / MODEL).write_bytes(content)
        (folder / WEIGHTS).write_bytes(weights)

    return write


def names(cache: GraphCache) -> set[str]:
    return {path.name for path in cache.folder.iterdir()}


@pytest.fixture
def cache(tmp_path: Path) -> GraphCache:
    return GraphCache(tmp_path / "voxgender" / "graphs")


def test_nothing_is_found_where_nothing_was_stored(cache: GraphCache) -> None:
    assert cache.find("key") is None
    assert not cache.folder.exists()


def test_what_was_stored_is_found_under_its_key(cache: GraphCache) -> None:
    stored = cache.store("key", writing())
    assert stored.read_bytes() == b"graph"
    assert cache.find("key") == stored
    assert cache.find("other") is None
    assert names(cache) == {"key"}


def test_it_is_for_its_user_alone(cache: GraphCache) -> None:
    cache.store("key", writing())
    assert cache.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("file", [MODEL, WEIGHTS, "SHA256SUMS"])
@pytest.mark.parametrize("damage", [b"", b"half", b"weightz"])
def test_a_damaged_entry_is_removed_and_can_be_stored_again(
    cache: GraphCache, file: str, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine that lost its power left a file of the right length full of zeros."""
    cache.store("key", writing())
    (cache.folder / "key" / file).write_bytes(damage)
    with caplog.at_level(logging.WARNING, "voxgender"):
        assert cache.find("key") is None
    assert "is damaged" in caplog.text
    assert names(cache) == set()
    cache.store("key", writing())
    assert cache.find("key") is not None


@pytest.mark.parametrize("file", [MODEL, WEIGHTS, "SHA256SUMS"])
def test_an_entry_that_lacks_a_file_is_damaged(cache: GraphCache, file: str) -> None:
    cache.store("key", writing())
    (cache.folder / "key" / file).unlink()
    assert cache.find("key") is None


def test_a_full_disk_is_told_and_leaves_nothing(cache: GraphCache) -> None:
    def write(folder: Path) -> None:
        (folder / MODEL).write_bytes(b"half a gra")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        cache.store("key", write)
    assert names(cache) == set()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        GraphCache(tmp_path / "file" / "graphs").store("key", writing())


def test_of_two_that_write_the_same_entry_both_get_it(cache: GraphCache) -> None:
    """Workers of one server start at the same time."""
    both_write = threading.Barrier(2)
    found: list[bytes] = []

    def write(folder: Path) -> None:
        writing()(folder)
        both_write.wait(20)

    def start() -> None:
        found.append(cache.store("key", write).read_bytes())

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [b"graph", b"graph"]
    assert names(cache) == {"key"}


def test_a_damaged_entry_that_came_meanwhile_is_replaced(cache: GraphCache) -> None:
    def write(folder: Path) -> None:
        writing()(folder)
        (cache.folder / "key").mkdir()
        (cache.folder / "key" / MODEL).touch()

    cache.store("key", write)
    assert cache.find("key") is not None


def test_those_that_were_not_used_for_longest_go_first(cache: GraphCache) -> None:
    small = GraphCache(cache.folder, limit_bytes=3_000)
    for age, key in enumerate(("newest", "used", "oldest")):
        small.store(key, writing(weights=bytes(700)))
        os.utime(cache.folder / key, (time.time() - 100 * (age + 1),) * 2)
    os.utime(cache.folder / "used", (0, 0))
    small.find("used")
    small.store("added", writing(weights=bytes(700)))
    assert names(cache) == {"added", "used", "newest"}


def test_an_entry_larger_than_all_may_be_is_kept_alone(cache: GraphCache) -> None:
    small = GraphCache(cache.folder, limit_bytes=100)
    small.store("first", writing())
    stored = small.store("large", writing(weights=bytes(1_000)))
    assert stored.is_file()
    assert names(cache) == {"large"}


def test_what_a_killed_process_left_goes_after_an_hour(cache: GraphCache) -> None:
    cache.store("key", writing())
    for name, age_s in ((".new-old", 7_200), (".new-now", 0)):
        (cache.folder / name).mkdir()
        os.utime(cache.folder / name, (time.time() - age_s,) * 2)
    cache.store("other", writing())
    assert names(cache) == {"key", "other", ".new-now"}


@pytest.mark.parametrize("told", ["", "relative"])
def test_the_folder_is_in_the_home_directory_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: str
) -> None:
    """By the XDG base directory specification, which has relative paths ignored."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", told)
    assert cache_folder() == tmp_path / ".cache" / "voxgender" / "graphs"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_folder() == Path("/var/cache/voxgender/graphs")
