import numpy as np

from voxgender.graphs.builder import Graph
from voxgender.onnxsession import open_session


def test_a_graph_computes_what_was_put_in_it_and_tells_its_metadata() -> None:
    graph = Graph()
    doubled = graph.add("Mul", "x", graph.constant(2.0))
    total = graph.add("ReduceSum", doubled, graph.integers(1), keepdims=0)
    model = graph.model(
        "sums", inputs={"x": ("rows", 3)}, outputs={"sum": (total, ("rows",))}, metadata={"origin": "here"}
    )
    session = open_session(model.SerializeToString())
    (sums,) = session.run(["sum"], {"x": np.array([[1, 2, 3], [0, 0, 1]], dtype=np.float32)})
    np.testing.assert_array_equal(sums, [12, 2])
    assert session.get_modelmeta().custom_metadata_map == {"origin": "here"}


def test_short_lists_are_kept_once() -> None:
    graph = Graph()
    assert graph.integers(1, 2) == graph.integers(1, 2)
    assert graph.integers(1, 2) != graph.integers(2, 1)
