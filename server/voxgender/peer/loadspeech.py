"""Give many callers speech that was encoded once."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, cycle, islice, takewhile
from pathlib import Path
from threading import Event

from voxgender.peer import speech
from voxgender.peer.speech import PACKET_S, Speech

VOICES = 2
"""Different dialogues that the callers share; each caller begins at another place."""
MAX_FILE_S = 3_600.0
"""Length of a file that is kept and repeated; files may be endless."""

Encoded = tuple[list[bytes], list[bytes]]
"""Packets of one voice, and the same in wideband for servers that ask for that."""


def encode(audio: Sequence[Path], loss: float, given_up: Event) -> list[Encoded]:
    """Encode the speech of all callers once; of a file the first :data:`MAX_FILE_S`."""
    if audio:
        sources = [speech.from_file(path, loss, given_up) for path in audio]
    else:
        sources = [speech.synthesised(seed, loss=loss) for seed in range(VOICES)]

    def first(packets: Iterable[bytes], duration_s: float) -> list[bytes]:
        return list(takewhile(lambda _: not given_up.is_set(), islice(packets, round(MAX_FILE_S / duration_s))))

    return [(first(source.packets, PACKET_S), first(source.wideband or (), 2 * PACKET_S)) for source in sources]


def shares(voices: Sequence[Encoded], peers: int) -> Iterator[Speech]:
    """Give every caller endless speech that begins at another place."""
    for number in range(peers):
        packets, wideband = (
            chain(islice(voice, len(voice) * number // peers, None), cycle(voice))
            for voice in voices[number % len(voices)]
        )
        yield Speech(packets, (), wideband)
