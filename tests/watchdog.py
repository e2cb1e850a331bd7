"""End a run of which a test goes on long after its time limit.

pytest-timeout interrupts a test once. What hangs after that, as a fixture that waits for a browser, would hang for good
and with it the whole run. The stacks of all threads are printed then, the test and those that were still to come are
noted as failed for ``--last-failed``, and the process and its children are killed. If the interpreter does not end once
all tests are over, its stacks are printed as well.
"""

import faulthandler
import os
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest

NAME = "watchdog"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--grace``."""
    parser.addoption("--grace", type=float, default=60.0, help="seconds after a test's time limit that end the run")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to watch."""
    config.pluginmanager.register(_Watchdog(config), NAME)


class _Watchdog:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._grace_s: float = config.getoption("grace")
        # pytest does not capture yet.
        self._stderr = os.fdopen(os.dup(2), "w")
        self._to_come: dict[str, bool] = {}
        self._failed: dict[str, bool] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._to_come = {item.nodeid: True for item in session.items}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        limit_s = _limit_s(item)
        if not limit_s:
            return (yield)
        timer = self._after(limit_s + self._grace_s, self._end_test, item.nodeid)
        # Where native code keeps all threads of Python from running.
        faulthandler.dump_traceback_later(limit_s + 2 * self._grace_s, file=self._stderr, exit=True)
        try:
            return (yield)
        finally:
            timer.cancel()
            faulthandler.cancel_dump_traceback_later()
            self._to_come.pop(item.nodeid, None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = True

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self._after(self._grace_s, self._end, "The interpreter", int(exitstatus))

    def _end_test(self, test: str) -> None:
        cache = self._config.cache
        assert cache is not None
        cache.set("cache/lastfailed", self._failed | self._to_come)
        self._end(test, pytest.ExitCode.TESTS_FAILED)

    def _end(self, what: str, exit_status: int) -> None:
        print(f"\n{what} went on {self._grace_s:g} s after its time:", file=self._stderr, flush=True)
        faulthandler.dump_traceback(self._stderr, all_threads=True)
        for process in psutil.Process().children(recursive=True):
            process.kill()
        os._exit(exit_status)

    @staticmethod
    def _after(delay_s: float, function: Callable[..., None], *arguments: object) -> threading.Timer:
        timer = threading.Timer(delay_s, function, arguments)
        timer.daemon = True
        timer.start()
        return timer


def _limit_s(item: pytest.Item) -> float:
    """Return a test's time limit as pytest-timeout reads it, 0 for none."""
    marker = item.get_closest_marker("timeout")
    given = item.config.getoption("timeout")
    if marker is not None and marker.args:
        return float(marker.args[0])
    return float(given if given is not None else item.config.getini("timeout"))
