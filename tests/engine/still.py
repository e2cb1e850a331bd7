"""An engine without a thread, on a virtual clock; and a call of it that remembers what it was told."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tests.clock import run_virtual
from voxgender.engine import Call, Engine
from voxgender.engine.call import Decode
from voxgender.protocol import Message, Result

M = TypeVar("M", bound=Message)


class StillEngine(Engine):
    """Takes its turns on the event loop of its calls, and on that loop's clock."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, clock=lambda: asyncio.get_running_loop().time(), **options)
        self.turns: list[tuple[float, int]] = []
        """When each turn was, and of how many calls."""

    def submit(self, calls: Sequence[Call]) -> None:
        self.turns.append((self.clock(), len(calls)))
        self.turn(calls)


class ToldCall:
    """A call, what was told of it, and how it ended."""

    def __init__(self, engine: Engine, *, decode: Decode | None = None) -> None:
        self.messages: list[Message] = []
        self.told_at: list[float] = []
        """When each of the messages came."""
        self.errors: list[Exception | None] = []
        self.over = asyncio.Event()
        self._clock = engine.clock
        self.call = engine.open(self._on_messages, self._on_end, decode=decode)

    @property
    def results(self) -> list[Result]:
        return self.only(Result)

    def only(self, kind: type[M]) -> list[M]:
        return [message for message in self.messages if isinstance(message, kind)]

    def _on_messages(self, messages: Sequence[Message]) -> None:
        self.messages += messages
        self.told_at += [self._clock()] * len(messages)

    def _on_end(self, error: Exception | None) -> None:
        self.errors.append(error)
        self.over.set()


def virtual(test: Callable[[], Any]) -> Callable[[], None]:
    """Run an asynchronous test on the virtual clock."""

    def run() -> None:
        run_virtual(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run
