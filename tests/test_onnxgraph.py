import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from voxgender.onnxgraph import Graph, session


def test_a_graph_computes_what_was_put_in_it() -> None:
    graph = Graph()
    doubled = graph.add("Mul", "x", graph.constant(2.0))
    total = graph.add("ReduceSum", doubled, graph.integers(1), keepdims=0)
    model = graph.model("sums", inputs={"x": ("rows", 3)}, outputs={"sum": (total, ("rows",))})
    (sums,) = session(model.SerializeToString()).run(["sum"], {"x": np.array([[1, 2, 3], [0, 0, 1]], dtype=np.float32)})
    np.testing.assert_array_equal(sums, [12, 2])


def test_short_lists_are_kept_once() -> None:
    graph = Graph()
    assert graph.integers(1, 2) == graph.integers(1, 2)
    assert graph.integers(1, 2) != graph.integers(2, 1)


def test_the_makers_of_the_runtime_are_told_nothing(tmp_path: Path) -> None:
    """Its builds carry a telemetry client; importing it alone wrote that client's session file."""
    program = (
        "from voxgender.audio.activity import VoiceActivity; VoiceActivity(); "
        "from pathlib import Path; import sys; sys.exit(len(list(Path(sys.argv[1]).iterdir())))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", program, tmp_path], env=environment, check=False).returncode == 0
