"""Publish an audio file by FFmpeg's muxer, as ``ffmpeg -re -i FILE -c:a libopus -ar 48000 -ac 2 -f whip URL`` does.

Usage: ffmpeg.py URL FILE [OPTION=VALUE...]. FFmpeg's own log goes to standard error.
"""

import sys
import time

import av
from av.audio.resampler import AudioResampler


def main(url: str, file: str, *options: str) -> int:
    av.logging.restore_default_callback()
    resampler = AudioResampler(format="s16", layout="stereo", rate=48_000, frame_size=960)
    started = time.monotonic()
    with (
        av.open(file) as source,
        av.open(url, "w", format="whip", options=dict(option.split("=", 1) for option in options)) as out,
    ):
        stream = out.add_stream("libopus", rate=48_000, layout="stereo")
        for frame in source.decode(audio=0):
            for resampled in resampler.resample(frame):
                assert resampled.time is not None
                time.sleep(max(0.0, started + resampled.time - time.monotonic()))
                out.mux(stream.encode(resampled))
        out.mux(stream.encode(None))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except av.FFmpegError as error:
        sys.exit(str(error))
