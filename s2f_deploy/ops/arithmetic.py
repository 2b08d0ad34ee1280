"""In which arithmetic a weighted sum is computed: as trained, or in exact integers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import IllegalGraphError
from s2f_deploy.ir.graph import DType, Node
from s2f_deploy.ops.op import Arrays

_MANTISSA = 2**53


def sum_type(node: Node, params: Arrays) -> DType:
    """Of a sum of weights: real values, or the integer type that lowering chose by its bounds.

    Raises:
        IllegalGraphError: the arrays of an integer sum are not of its type.
    """
    weight, bias = params
    if weight.dtype.kind != "i" or not node.output.dtype.is_integer:
        return DType.FLOAT32
    wide = node.output.dtype.array_type
    if bias.dtype != wide or weight.dtype.itemsize > wide.itemsize:
        raise IllegalGraphError(
            f"{node.name} adds weights of {weight.dtype} and a bias of {bias.dtype} in {wide}",
            where=node.origin,
            fix="the artefact is damaged: export the network again",
        )
    return node.output.dtype


def accumulator(value: NDArray[Any], weight: NDArray[Any]) -> np.dtype[Any]:
    """The type of real weights [O, ...], or for integers one that holds every partial sum exactly.

    That is float64 wherever it can be: only floating point has a fast matrix product.
    """
    if weight.dtype.kind != "i":
        return weight.dtype
    largest = int(np.abs(value.astype(np.int64)).max(initial=0))
    total = int(np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1).max())
    return np.dtype(np.float64 if largest * total < _MANTISSA else np.int64)


def with_bias(node: Node, total: NDArray[Any], bias: NDArray[Any]) -> NDArray[Any]:
    """Weighted sums and their biases, of broadcasting shapes, in the type of the node's output."""
    if node.output.dtype.is_integer:
        whole: NDArray[Any] = (total.astype(np.int64) + bias).astype(node.output.dtype.array_type)
        return whole
    current: NDArray[Any] = total + bias
    return current
