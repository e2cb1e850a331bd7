import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = """
import time

import pytest


@pytest.fixture
def never_ends():
    yield
    try:
        time.sleep(60)
    finally:
        time.sleep(60)


def test_passes():
    pass


def test_fails():
    raise AssertionError


def test_hangs(never_ends):
    pass


def test_comes_after():
    pass
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.watchdog", "--rootdir", folder, "-o", "timeout=0.2",
         "--timeout-method=signal", "--grace=0.5", "-v", *arguments, folder],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=60,
    )  # fmt: skip


def test_a_test_that_hangs_in_its_teardown_ends_the_run_and_is_run_again_with_the_ones_to_come(tmp_path: Path) -> None:
    # A run of all tests stood for 75 minutes, because a fixture hung after its test's time was over.
    (tmp_path / "test_some.py").write_text(TESTS)
    ended = run(tmp_path)
    assert ended.returncode == 1
    assert "test_hangs went on 0.5 s after its time" in ended.stderr
    assert "in never_ends" in ended.stderr
    again = run(tmp_path, "--last-failed", "--deselect=test_some.py::test_hangs")
    assert "test_comes_after PASSED" in again.stdout
    assert "test_fails FAILED" in again.stdout
    assert "test_passes" not in again.stdout


def test_an_interpreter_that_does_not_end_is_ended_with_the_status_of_its_tests(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import threading, time\ndef test_leaves_a_thread(): threading.Thread(target=time.sleep, args=(60,)).start()\n"
    )
    ended = run(tmp_path)
    assert ended.returncode == 0
    assert "The interpreter went on 0.5 s after its time" in ended.stderr
