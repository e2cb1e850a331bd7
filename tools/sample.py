"""Write ``client/site/sample.mp3``: the synthetic man and woman that the page plays as its sample."""

from pathlib import Path

import av
import numpy as np

from voxgender.peer.vocaltract import SAMPLE_RATE_HZ
from voxgender.peer.voices import dialogue

SAMPLE = Path(__file__).parents[1] / "client" / "site" / "sample.mp3"
BITS_PER_S = 48_000
TURN_S, PAUSE_S = 4.5, 1.2


def write(path: Path) -> None:
    """Encode the dialogue as MP3, which every browser decodes."""
    samples = dialogue(turn_s=TURN_S, pause_s=PAUSE_S).samples
    pcm = (np.clip(samples, -1, 1) * 32_767).astype("<i2")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE_HZ, layout="mono", bit_rate=BITS_PER_S)
        frame = av.AudioFrame.from_ndarray(pcm[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        for frame_or_end in (frame, None):
            container.mux(stream.encode(frame_or_end))


if __name__ == "__main__":
    write(SAMPLE)
