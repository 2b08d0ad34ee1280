"""Sums leave the ``events`` engine as real values, which lie in memory channel by channel.

Whoever reads them, the host's network or a caller, takes channels first: turning them over while
they are converted is one pass over memory instead of three.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_sim.kernels.reading_out import read_out_positions
from s2f_sim.kernels.sharing import Share
from s2f_sim.rooms import Arrays
from s2f_sim.workers import Pace, Workers

# Fewer are turned over by NumPy before a kernel would be loaded.
_FEW = 1 << 16
# A rough speed of one core, only to judge whether a second thread pays.
ELEMENTS_PER_NS = 0.5

Array = NDArray[Any]


def read_out(node: Node, sums: Array, exponents: Array, workers: Workers) -> Array:
    """Integers[..., H, W, C] -> a view float32[..., H, W, C]; see ``ops/fixed_point.py``."""
    steps, positions, channels = node.output.steps, node.output.positions, node.output.channels
    real = np.empty((steps, channels, positions), np.float32)
    powers = np.ldexp(np.ones(channels, np.float32), exponents)
    if sums.size <= _FEW:
        by_channel = sums.reshape(steps, positions, channels).transpose(0, 2, 1)
        np.multiply(by_channel.astype(np.float32), powers[:, None], out=real)
        return real.transpose(0, 2, 1).reshape(sums.shape)
    # Kernels are compiled for every order of memory that they meet.
    given = np.ascontiguousarray(sums).reshape(steps, positions, channels)
    for now, channels_first in zip(given, real, strict=True):
        workers.over_rows(
            positions,
            partial(_read_out, now, powers, channels_first),
            Pace(channels_first.size / ELEMENTS_PER_NS),
        )
    return real.transpose(0, 2, 1).reshape(sums.shape)


def _read_out(sums: Array, powers: Array, real: Array, _: Arrays, share: Share) -> None:
    read_out_positions(sums, powers, real, share)
