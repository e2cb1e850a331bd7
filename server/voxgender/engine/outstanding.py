"""Wait for the answers of a pool to the windows of a call's turn, while the engine goes on with other calls."""

from collections.abc import Callable, Sequence

from voxgender.engine.call import Call
from voxgender.engine.call_state import Hop
from voxgender.engine.messages import TurnTimes


class Outstanding:
    """A turn of one call whose windows were sent. Its next turn begins after this one's messages.

    Args:
        call: the call.
        hops: all hops of the turn, in order.
        times: the turn's times; the model's is not known yet.
        on_answered: called once, from any thread, when every window was answered or given up.
    """

    def __init__(
        self, call: Call, hops: Sequence[Hop], times: TurnTimes, on_answered: "Callable[[Outstanding], None]"
    ) -> None:
        self.call = call
        self.hops = hops
        self.times = times
        self._on_answered = on_answered
        self._rows = [hop.row for hop in hops if hop.row is not None]

    def watch(self) -> None:
        """Wait for the first of the windows that are still out, then for the next."""
        while self._rows and self._rows[-1].done():
            self._rows.pop()
        if self._rows:
            self._rows[-1].add_done_callback(lambda _: self.watch())
        else:
            self._on_answered(self)
