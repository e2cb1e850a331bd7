"""Notify parts of the server of calls: of their starts, their events and their ends."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from voxgender.protocol import Message, Usage
from voxgender.roster import LiveCall, Roster


class Observer(Protocol):
    """Receives what happens to all calls of a node, on its event loop. It neither waits nor raises."""

    def on_start(self, call: LiveCall) -> None:
        """Note that a call's client is connected."""
        ...

    def on_event(self, call: LiveCall, message: Message) -> None:
        """Note a message of a call; ``result`` is left out."""
        ...

    def on_end(self, call: LiveCall, reason: str, usage: Usage) -> None:
        """Note that a call that began has ended."""
        ...


class RosterObserver:
    """Keeps a roster of a node's calls."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def on_start(self, call: LiveCall) -> None:
        self._roster.add(call)

    def on_event(self, call: LiveCall, message: Message) -> None:
        """Ignore messages: followers of a call get them from the call."""

    def on_end(self, call: LiveCall, reason: str, usage: Usage) -> None:
        self._roster.remove(call.session)


class CallObservers:
    """Tells observers of one call, each fact once, in order.

    Args:
        call: the call; its start is noted when it comes.
        observers: of the node.
    """

    def __init__(self, call: LiveCall, observers: Sequence[Observer]) -> None:
        self.call = call
        self._observers = observers
        self._begun = False
        self._ended = False

    def start(self, now: float) -> None:
        """Note that the client is connected at ``now``, seconds since the epoch."""
        if self._begun or self._ended:
            return
        self._begun = True
        self.call = msgspec.structs.replace(self.call, started_at=now)
        for observer in self._observers:
            observer.on_start(self.call)

    def event(self, message: Message) -> None:
        """Note a message that is no ``result``."""
        if self._begun and not self._ended:
            for observer in self._observers:
                observer.on_event(self.call, message)

    def end(self, reason: str, usage: Usage) -> None:
        """Note the end, if the call has begun."""
        if self._ended:
            return
        self._ended = True
        if self._begun:
            for observer in self._observers:
                observer.on_end(self.call, reason, usage)


NOBODY = CallObservers(LiveCall(session="", started_at=0.0), ())
