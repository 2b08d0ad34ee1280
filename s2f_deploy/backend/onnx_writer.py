"""An ONNX model under construction, in float32 and, where that could round, in double precision."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from s2f_deploy.frontend.integer_fire import OPSET
from s2f_deploy.ir.graph import TensorType

IR_VERSION = 10
Array = NDArray[Any]


class OnnxWriter:
    """Nodes, constants and the tensors that are in double precision.

    Attributes:
        nodes: in order; a node has the name of its only output.
        arrays: constants by name.
        wide: tensors in double precision; all others are float32.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, Array] = {}
        self.wide: set[str] = set()
        self._made: set[str] = set()
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def model(self, name: str) -> bytes:
        """The serialised model."""
        arrays = [numpy_helper.from_array(array, name) for name, array in self.arrays.items()]
        graph = helper.make_graph(self.nodes, name, self._inputs, self._outputs, arrays)
        opsets = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        content: bytes = made.SerializeToString()
        return content

    def input(self, name: str, batch: int | str, shape: tuple[int, ...]) -> str:
        """Declare a float32 input; returns its name."""
        dims: list[Any] = [batch, *shape]
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
        return name

    def output(self, name: str, batch: int | str, shape: tuple[int, ...]) -> None:
        """Declare a float32 tensor an output."""
        dims: list[Any] = [batch, *shape]
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))

    def op(
        self, op: str, inputs: list[str], name: str, *, wide: bool = False, **attributes: Any
    ) -> str:
        """Append a node that makes the tensor ``name``, in double if ``wide``; returns the name."""
        self.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        if wide:
            self.wide.add(name)
        return name

    def split(self, source: str, names: list[str]) -> list[str]:
        """Append a node that splits ``source`` along its first axis; returns the names."""
        pieces = len(names)
        self.append(helper.make_node("Split", [source], names, axis=0, num_outputs=pieces))
        if source in self.wide:
            self.wide.update(names)
        return names

    def append(self, node: onnx.NodeProto) -> None:
        """Append a node made elsewhere, whose results are float32."""
        self.nodes.append(node)
        self._made.update(node.output)

    def constant(self, name: str, values: Any, dtype: DTypeLike) -> str:
        """Add a constant; returns its name."""
        self.arrays[name] = np.asarray(values, dtype)
        return name

    def number(self, name: str, value: float, *, wide: bool) -> str:
        """Add a constant scalar; returns its name."""
        return self.constant(name, value, np.float64 if wide else np.float32)

    def cast(self, name: str, *, wide: bool) -> str:
        """The tensor ``name`` in one of the two precisions; cast at most once."""
        if (name in self.wide) == wide:
            return name
        cast = f"{name}.double" if wide else f"{name}.float"
        if cast not in self._made:
            to = TensorProto.DOUBLE if wide else TensorProto.FLOAT
            self.op("Cast", [name], cast, wide=wide, to=to)
        return cast


def per_channel(values: Array, output: TensorType) -> Array:
    """A vector [C] or [1] shaped to broadcast over [batch, C, ...]."""
    return values.reshape(1, -1, *[1] * (len(output.shape) - 1))
