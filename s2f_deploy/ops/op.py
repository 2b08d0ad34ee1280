"""What the toolchain knows about one operation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from s2f_deploy.ir.graph import Level, Node, TensorType
from s2f_deploy.ir.interval import IntervalRule

Arrays = Sequence[NDArray[Any]]
InferType = Callable[[Node, Sequence[TensorType], Arrays], TensorType]
Dense = Callable[[Node, Arrays, Arrays], NDArray[Any]]
FanOut = Callable[[Node, TensorType, Arrays], NDArray[Any]]
Count = Callable[[Node, Sequence[TensorType], Arrays], int]


@dataclass(frozen=True, slots=True)
class Op:
    """One operation, described several times over; tests hold the descriptions equal.

    Attributes:
        levels: where in the lowering it is legal.
        infer_type: output type from the node, its input types and its arrays.
        dense: the reference. Channels first, one sample; computes in the dtype of its operands.
        fan_out: for a synaptic operation, int64[positions]: the synapses one spike reaches.
        dense_macs: multiply-accumulates of the dense layer, taps inside the image only.
        padded_macs: the same as the papers count it, taps on the padding included.
        roundings: floating point roundings on the longest path from an input to the output,
            for a-priori error bounds.
        interval: bounds of an integer result, and of every partial sum on the way to it.
        couples_time: its definitions see the time axis. All others are applied to every real
            timestep by itself, and know nothing of time.
    """

    name: str
    levels: frozenset[Level]
    infer_type: InferType
    dense: Dense
    fan_out: FanOut | None = None
    dense_macs: Count | None = None
    padded_macs: Count | None = None
    roundings: Count | None = None
    interval: IntervalRule | None = None
    couples_time: bool = False


EVERY_LEVEL = frozenset(Level)
BEFORE_EVENT = frozenset({Level.FLOAT, Level.INTEGER})
FLOAT_ONLY = frozenset({Level.FLOAT})
EVENT_ONLY = frozenset({Level.EVENT})


def same_as_declared(node: Node, _: Sequence[TensorType], __: Arrays) -> TensorType:
    """Type rule of operations whose type only their maker knows."""
    return node.output
