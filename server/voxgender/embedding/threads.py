"""Run functions that may block on threads that nobody has to wait for."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()
_running: set[threading.Thread] = set()


async def run_aside(work: Callable[[], T]) -> T:
    """Run a function on a thread of its own; return its result, or raise its error.

    Unlike those of ``asyncio.to_thread``, it takes no place of the event loop's few threads, which look up addresses,
    too, and neither the end of the loop nor that of the process waits for it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def complete(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        else:
            done.set_exception(error)

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = context.run(work)
        except BaseException as raised:  # noqa: BLE001 - it is raised where the result is awaited
            error = raised
        with suppress(RuntimeError):
            # The loop may have been closed meanwhile.
            loop.call_soon_threadsafe(complete, result, error)
        _running.discard(threading.current_thread())

    thread = threading.Thread(target=run, name="voxgender-aside", daemon=True)
    _running.add(thread)
    thread.start()
    return await done


def wait_at_exit(limit_s: float) -> None:
    """Wait for the functions of :func:`run_aside` that are soon done: their native code may not outlive the process."""
    until = monotonic() + limit_s
    for thread in list(_running):
        thread.join(max(0.0, until - monotonic()))


async def iterate_aside(next_item: Callable[[], T]) -> AsyncGenerator[T, None]:
    """Yield the results of a function, called again and again on such a thread until it raises ``StopIteration``."""
    loop = asyncio.get_running_loop()
    wanted = threading.Semaphore(0)
    left = False
    given: asyncio.Queue[Any] = asyncio.Queue()

    def work() -> None:
        while True:
            wanted.acquire()
            if left:
                return
            try:
                outcome: Any = next_item()
            except StopIteration:
                outcome = _END
            except BaseException as error:  # noqa: BLE001 - it is raised where the items are iterated over
                outcome = _Failed(error)
            try:
                loop.call_soon_threadsafe(given.put_nowait, outcome)
            except RuntimeError:
                # The loop was closed meanwhile.
                return

    threading.Thread(target=work, name="voxgender-aside", daemon=True).start()
    try:
        while True:
            wanted.release()
            outcome = await given.get()
            if outcome is _END:
                return
            if isinstance(outcome, _Failed):
                raise outcome.error
            yield outcome
    finally:
        left = True
        wanted.release()


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error
