"""Spikes that read what another layer holds: see ``s2f_deploy/ops/product.py``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_sim.kernels.attention import add_held
from s2f_sim.workers import Pace, Workers

ADDITIONS_PER_NS = 10.0


def read_held(
    node: Node, held: NDArray[Any], events: NDArray[Any], workers: Workers
) -> NDArray[Any]:
    """Held T[1, Q, I + 1], counts uint8[..., I] -> T[..., Q]."""
    rows = np.ascontiguousarray(held.reshape(-1, held.shape[-1]).T)
    counts = events.reshape(-1, events.shape[-1])
    gathering = add_held(counts, rows)
    pace = Pace(counts.size * rows.shape[1] / ADDITIONS_PER_NS)
    workers.over_rows(len(counts), lambda _, share: gathering.run(workers.threads, share), pace)
    sums = gathering.result(len(counts), rows.shape[1])
    return np.ascontiguousarray(sums).reshape(*node.output.plane, -1)
