"""What an ONNX tensor is in terms of graph nodes: a node's result, seen through wiring.

Reshape and transpose move no spikes. The importer therefore never makes nodes of them; it keeps,
beside the node, where every element of the ONNX tensor lies in the node's result, and compares
these positions with what a reader of the tensor expects.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import TensorType


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """Elements of one node's result, rearranged.

    Attributes:
        node: the node whose result it shows.
        shape: of the ONNX tensor, batch axis included.
        moved: int32 of that shape, flat positions in the result; None if all lie in order, as in
            most tensors, whose positions would take more memory than the weights.
    """

    node: str
    shape: tuple[int, ...]
    moved: NDArray[Any] | None = None

    @property
    def index(self) -> NDArray[Any]:
        """int32 of its shape: flat positions in the node's result."""
        if self.moved is not None:
            return self.moved
        return np.arange(prod(self.shape), dtype=np.int32).reshape(self.shape)

    @property
    def in_order(self) -> bool:
        """Whether the elements lie as in the node's result, whatever the shape."""
        return self.moved is None

    def rearranged(self, index: NDArray[Any]) -> "View":
        """Other elements of the same node, or in another order."""
        flat = index.ravel()
        same = np.array_equal(flat, np.arange(flat.size, dtype=np.int32))
        return replace(self, shape=index.shape, moved=None if same else index)

    def reshaped(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> "View":
        """The same elements in the same order, with the shape that ``change`` gives an array."""
        if self.moved is not None:
            moved = change(self.moved)
            return replace(self, shape=moved.shape, moved=moved)
        return replace(self, shape=change(np.broadcast_to(np.uint8(0), self.shape)).shape)

    @property
    def times(self) -> int:
        """How often the tensor shows the same elements, one time after the other; 1 if once."""
        times = self.shape[0]
        if times == 1 or self.moved is None or not (self.moved == self.moved[:1]).all():
            return 1
        return times

    def heads(self, rows: int, columns: int, heads: int) -> tuple[str, bool]:
        """How the tensor shows ``heads`` heads of a node ``(rows, columns)``.

        Returns:
            ``"tokens"`` for [1, heads, N, d], ``"channels"`` for [1, heads, d, N], else "". And
            whether the node has its tokens in rows, not its channels.
        """
        places = np.arange(rows * columns).reshape(1, rows, columns)
        for turned, place in ((False, places), (True, places.transpose(0, 2, 1))):
            if place.shape[1] % heads:
                continue
            by_channel = place.reshape(1, heads, -1, place.shape[2])
            if np.array_equal(self.index, by_channel):
                return "channels", turned
            if np.array_equal(self.index, by_channel.transpose(0, 1, 3, 2)):
                return "tokens", turned
        return "", False


def whole(node: str, output: TensorType) -> View:
    """A node's result as it is; in front the batch axis, or the timesteps."""
    return View(node, (output.steps, *output.shape))


@dataclass(frozen=True, eq=False, slots=True)
class Product:
    """A first matrix product of attention, waiting for its second.

    Attributes:
        operands: ``(q, k)`` of ``q kᵀ``, or ``(k, v)`` of ``kᵀ v``.
        association: ``"qk_v"`` or ``"q_kv"``.
        scale: constant factors met so far.
    """

    operands: tuple[View, View]
    association: str
    heads: int
    scale: float


@dataclass(frozen=True, eq=False, slots=True)
class Constant:
    """A tensor known at import."""

    array: NDArray[Any]


Value = View | Product | Constant
