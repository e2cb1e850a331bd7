"""The server runs where calls of the system have other names, or do not exist."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from voxgender.system import on_signal, release_memory, resident_bytes, usable_cores


def test_cores_are_counted_where_a_process_cannot_ask_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()


@pytest.mark.parametrize("has_handlers", [True, False])
async def test_a_signal_is_heard_until_it_is_let_go(has_handlers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows' event loops take no signals, so a server there had no way to end in good order."""
    before = signal.getsignal(signal.SIGTERM)
    if not has_handlers:

        def refuse(*_: object) -> None:
            raise NotImplementedError

        monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
    heard = asyncio.Event()
    let_go = on_signal(signal.SIGTERM, heard.set)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(heard.wait(), 5)
    let_go()
    assert signal.getsignal(signal.SIGTERM) == before


async def test_signals_are_for_the_main_thread() -> None:
    def elsewhere() -> None:
        async def ask() -> None:
            with pytest.raises(ValueError, match="main thread"):
                on_signal(signal.SIGTERM, lambda: None)

        asyncio.run(ask())

    await asyncio.to_thread(elsewhere)


def test_memory_is_released_where_that_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Glibc:
        def malloc_trim(self, pad: int) -> None:
            asked.append(pad)

    release_memory()
    monkeypatch.setattr("ctypes.CDLL", lambda _: Glibc())
    release_memory()
    assert asked == [0]
    # Other C libraries have no such function.
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    release_memory()


def test_memory_is_told_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """``voxgender bench-model`` ended with: /proc/self/statm: No such file or directory."""
    assert resident_bytes() > 10e6
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: Path("/no/such/file").read_bytes())
    assert resident_bytes() > 10e6
    monkeypatch.setitem(sys.modules, "resource", None)
    assert resident_bytes() == 0
