#!/usr/bin/env python3
"""Write the ONNX files that come with the package: the speech gate's network, and the embedded model.

usage: .venv/bin/python tools/graphs.py

The gate's is made from the package silero-vad, the embedded model's from the checkpoint beside it
(`voxgender export RUN server/voxgender/models/embedded` writes both). tests/graphs holds the files to this.
"""

from voxgender.audio.activity import NETWORK
from voxgender.graphs import silero
from voxgender.inference.conversion import export
from voxgender.inference.loading import EMBEDDED_DIRECTORY

if __name__ == "__main__":
    NETWORK.write_bytes(silero.build().SerializeToString())
    export(EMBEDDED_DIRECTORY)
