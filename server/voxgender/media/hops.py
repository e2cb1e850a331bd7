"""Join the results of a call to longer hops than the engine's, which all calls share."""

from collections import Counter
from collections.abc import Iterator

import msgspec

from voxgender.errors import OptionRefused
from voxgender.protocol import Message, Result, Segment, Summary

LONGEST_HOP_MS = 1_984
"""The longest hop of a call, as of a server."""
_GAP_S = 0.001


def longest_hop_ms(own_ms: int) -> int:
    """Return the longest hop that a call may ask for, where the engine's own is ``own_ms``."""
    return max(own_ms, LONGEST_HOP_MS - LONGEST_HOP_MS % own_ms)


def check_hop(hop_ms: int, own_ms: int) -> None:
    """Check that a call's hop fits the engine's.

    Args:
        hop_ms: the call's; 0 for the engine's.
        own_ms: the engine's.

    Raises:
        OptionRefused: it does not; the sentence names the hops that do.
    """
    longest_ms = longest_hop_ms(own_ms)
    if hop_ms % own_ms == 0 and hop_ms <= longest_ms:
        return
    fitting = [str(fits) for fits in range(own_ms, longest_ms + 1, own_ms)]
    if len(fitting) > 4:
        fitting[3:-1] = ["…"]
    raise OptionRefused(f"hop_ms takes the server's hop or a multiple of it: {', '.join(fitting)}.")


class Hops:
    """Joins the results of each channel to longer hops. Other messages pass at once, so that no change waits.

    A joined result is the last of its hop, with the start of the first and a number of its own. It ends with its
    segment.

    Args:
        hop_ms: length of a hop, a multiple of the engine's.
        own_ms: the engine's.
    """

    def __init__(self, hop_ms: int, own_ms: int) -> None:
        # Half a hop less: the engine's hops are now and then a little shorter.
        self._least_s = (hop_ms - own_ms / 2) / 1_000
        self._joined: dict[int | None, Result] = {}
        """Results that are not told yet, by channel."""
        self._numbers: Counter[int | None] = Counter()

    def join(self, message: Message) -> Iterator[Message]:
        """Yield the messages that can be told once this one has come."""
        if not isinstance(message, (Result, Segment, Summary)):
            yield message
            return
        before = self._joined.pop(message.channel, None)
        if not isinstance(message, Result):
            # A client that asks for the end of a segment waits for its results.
            if before is not None:
                yield self._numbered(before)
            if isinstance(message, Summary):
                self._numbers.pop(message.channel, None)
            yield message
            return
        if before is not None and message.start > before.end + _GAP_S:
            # Nothing was analysed in between.
            yield self._numbered(before)
            before = None
        if before is not None:
            message = msgspec.structs.replace(message, start=before.start)
        if message.end - message.start >= self._least_s:
            yield self._numbered(message)
        else:
            self._joined[message.channel] = message

    def _numbered(self, result: Result) -> Result:
        self._numbers[result.channel] += 1
        return msgspec.structs.replace(result, seq=self._numbers[result.channel])
