"""Max pooling of the ``events`` engine; see ``s2f_deploy/ops/max_pool.py``."""

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node


def pooled(node: Node, value: NDArray[Any]) -> NDArray[Any]:
    """The largest of every window of T[..., H, W, C]; along one axis, then the other."""
    lowest = -np.inf if value.dtype.kind == "f" else np.iinfo(value.dtype).min
    top, left, bottom, right = node["padding"]
    ahead = value.ndim - 3
    margins = ((0, 0),) * ahead + ((top, bottom), (left, right), (0, 0))
    largest = np.pad(value, margins, constant_values=lowest)
    for axis, taps, stride in zip((ahead, ahead + 1), node["kernel"], node["stride"], strict=True):
        whole = (slice(None),) * axis
        past = largest.shape[axis] - taps + 1
        windows = [largest[(*whole, slice(tap, past + tap, stride))] for tap in range(taps)]
        largest = reduce(np.maximum, windows)
    return np.ascontiguousarray(largest)
