"""Spikes that read what another layer holds: see ``s2f_deploy/ops/product.py``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_sim.kernels.attention import add_held
from s2f_sim.workers import Workers

ADDITIONS_PER_NS = 10.0


def read_held(
    node: Node, held: NDArray[Any], events: NDArray[Any], workers: Workers
) -> NDArray[Any]:
    """Held T[1, Q, I + 1], counts uint8[..., I] -> T[..., Q]."""
    rows = np.ascontiguousarray(held.reshape(-1, held.shape[-1]).T)
    counts = events.reshape(-1, events.shape[-1])
    result = np.empty((len(counts), rows.shape[1]), rows.dtype)
    levels = int(counts.max(initial=0))
    workers.over_rows(
        len(counts),
        lambda first, last: add_held(counts, rows, levels, result, first, last),
        counts.size * rows.shape[1] / ADDITIONS_PER_NS,
    )
    return result.reshape(*node.output.plane, -1)
