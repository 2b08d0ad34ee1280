"""Where values enter and leave the graph."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op, same_as_declared


def pass_through(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """The value itself."""
    del node, params
    return inputs[0]


def type_of_input(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """The output has the type of what it hands out."""
    del node, params
    return inputs[0]


INPUT = Op("input", EVERY_LEVEL, same_as_declared, pass_through)
OUTPUT = Op("output", EVERY_LEVEL, type_of_input, pass_through)
