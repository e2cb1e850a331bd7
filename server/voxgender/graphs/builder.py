"""Collect the operations and constants of a network into an ONNX model."""

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper

Array = npt.NDArray[np.generic]

_OPSET, _IR_VERSION = 20, 9
"""The first opset with Gelu, and the IR version that belongs to it."""
_FUSED = "com.microsoft"
"""ONNX Runtime's own operators."""
_EXTERNAL_BYTES = 1024


class Graph:
    """Collects nodes and constants. A value is known by its name.

    Args:
        external: a file called ``weights`` beside the model's that takes the large tensors; without it, they are in
            the model.
    """

    def __init__(self, external: BinaryIO | None = None) -> None:
        self._nodes: list[Any] = []
        self._constants: list[TensorProto] = []
        self._external = external
        self._names = 0
        self._known: dict[tuple[int, ...], str] = {}

    def add(self, operator: str, *inputs: str, fused: bool = False, **attributes: Any) -> str:
        """Add an operation of one output; ``fused`` for one of ONNX Runtime's own."""
        return self.add_many(operator, 1, *inputs, fused=fused, **attributes)[0]

    def add_many(
        self, operator: str, outputs: int, *inputs: str, fused: bool = False, **attributes: Any
    ) -> Sequence[str]:
        """Add an operation of several outputs."""
        names = [self._name(operator) for _ in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, domain=_FUSED if fused else None, **attributes))
        return names

    def constant(self, array: Array | float) -> str:
        """Add a constant; a float has 32 bits."""
        name = self._name("constant")
        array = np.ascontiguousarray(array, dtype=np.float32 if isinstance(array, float) else None)
        if self._external is None or array.nbytes < _EXTERNAL_BYTES:
            self._constants.append(numpy_helper.from_array(array, name))
            return name
        tensor = TensorProto(
            name=name,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            dims=array.shape,
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": "weights", "offset": self._external.tell(), "length": array.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._external.write(array.data)
        self._constants.append(tensor)
        return name

    def integers(self, *values: int) -> str:
        """Add a short list, as shapes, axes and positions are given."""
        if values not in self._known:
            self._known[values] = self.constant(np.array(values, dtype=np.int64))
        return self._known[values]

    def scalar(self, number: int) -> str:
        """Add an integer, as ``Range`` and ``Clip`` take them."""
        return self.constant(np.array(number, dtype=np.int64))

    def model(
        self,
        name: str,
        *,
        inputs: Mapping[str, Sequence[str | int]],
        outputs: Mapping[str, tuple[str, Sequence[str | int]]],
        metadata: Mapping[str, str],
    ) -> ModelProto:
        """Finish the graph. Inputs and outputs are float32; an output is a value by another name.

        Args:
            name: the graph's name.
            inputs: their shapes; a dimension that may vary has a name.
            outputs: their values and shapes.
            metadata: kept in the model, and told by the session that runs it.
        """
        for outer, (value, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [outer]))
        graph = helper.make_graph(
            self._nodes,
            name,
            [_described(inner, shape) for inner, shape in inputs.items()],
            [_described(outer, shape) for outer, (_, shape) in outputs.items()],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_FUSED, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        helper.set_model_props(model, dict(metadata))
        return model

    def _name(self, stem: str) -> str:
        self._names += 1
        return f"{stem}_{self._names}"


def _described(name: str, shape: Sequence[str | int]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
