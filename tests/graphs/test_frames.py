import numpy as np
import pytest

from voxgender.graphs.builder import Graph
from voxgender.graphs.frames import unfold
from voxgender.onnxsession import open_session


@pytest.mark.parametrize(
    ("kernel", "stride"), [(10, 5), (3, 2), (2, 2), (512, 160), (100, 160), (7, 3), (1, 1), (160, 160)]
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("rest", [0, 1, 7])
def test_each_frame_has_the_samples_that_its_convolution_sees(
    kernel: int, stride: int, channels: int, rest: int
) -> None:
    graph = Graph()
    frames = unfold(graph, "signal", channels, kernel, stride)
    model = graph.model(
        "frames",
        inputs={"signal": ("batch", "time", channels)},
        outputs={"frames": (frames, ("batch", "steps", kernel * channels))},
        metadata={},
    )
    signal = np.random.default_rng(0).normal(0, 1, (2, kernel + 4 * stride + rest, channels)).astype(np.float32)
    (found,) = open_session(model.SerializeToString()).run(None, {"signal": signal})
    steps = (signal.shape[1] - kernel) // stride + 1
    expected = [signal[:, step * stride : step * stride + kernel].reshape(2, -1) for step in range(steps)]
    np.testing.assert_array_equal(found, np.stack(expected, axis=1))
