"""Bilinear upsampling to twice the size in the ``events`` engine, finished row by row."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_sim.kernels.finish import OVERHANG, Finish
from s2f_sim.kernels.sharing import Share
from s2f_sim.kernels.upsampling import upsample_rows
from s2f_sim.rooms import Arrays
from s2f_sim.workers import Pace, Workers

# Of the nearer and the farther pixel of one axis; of integers in quarters.
_WHOLE_WEIGHTS, _REAL_WEIGHTS = (3, 1), (0.75, 0.25)
# A rough speed of one core, only to judge whether a second thread pays.
PIXELS_PER_NS = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class Upsampling:
    """Membranes, or real values, at twice the size.

    Attributes:
        bias: T[1, C], zeros.
    """

    bias: NDArray[Any]

    @classmethod
    def of(cls, node: Node) -> "Upsampling":
        """Of a bilinear_upsample."""
        return cls(np.zeros((1, node.output.channels), node.output.dtype.array_type))

    def accumulate(self, source: NDArray[Any], finish: Finish, workers: Workers) -> None:
        """As ``synapses.Synapse``, but of T[H, W, C] or of a narrower type."""
        height, width, channels = source.shape
        image, kind = np.ascontiguousarray(source), self.bias.dtype
        near, far = map(kind.type, _WHOLE_WEIGHTS if kind.kind == "i" else _REAL_WEIGHTS)

        tile = np.empty((workers.threads, 2 * width * channels + OVERHANG), kind)

        def work(_: Arrays, share: Share) -> None:
            upsample_rows(image, near, far, tile, finish, share)

        workers.over_rows(height, work, Pace(4 * source.size / PIXELS_PER_NS))
