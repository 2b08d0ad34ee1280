"""Depthwise convolutions of the ``events`` engine.

Sums of spikes are held in the narrowest type that holds every sum of a layer's weights. A register
of channels is summed at a time, for several outputs, and masks say which of them spike.
"""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_sim.kernels.events import flat_window
from s2f_sim.kernels.finish import Finish
from s2f_sim.kernels.masked_depthwise import (
    Masking,
    MaskRoom,
    accumulate_masked,
    count_bits,
    mask_room,
    weight_bits,
)
from s2f_sim.kernels.sharing import Share
from s2f_sim.layout import ACCUMULATIONS_PER_NS, TYPICAL_COUNT, masking_of, narrowest_sum
from s2f_sim.rooms import Arrays, Room
from s2f_sim.workers import Pace, Workers


@dataclass(frozen=True, eq=False, slots=True)
class Depthwise:
    """Counts of a register of channels add what their bits say of their weights."""

    weights: NDArray[Any]
    bias: NDArray[Any]
    masking: Masking
    stride: int
    padding: tuple[int, int]
    lines: int
    room: Room
    pace: Pace

    @classmethod
    def of(
        cls, node: Node, source: TensorType, rows: NDArray[Any], bias: NDArray[Any]
    ) -> "Depthwise":
        """Weights [KH, KW, 1, C] and bias T[1 or P, C]."""
        weight = rows[:, :, 0]
        dtype, masking = narrowest_sum(weight, source.levels), masking_of(node, source, rows)
        bits = count_bits(source.levels)
        return cls(
            weight_bits(weight, bits, masking, dtype),
            bias,
            masking,
            node["stride"][0],
            node["padding"][:2],
            node.output.plane[0],
            Room(*mask_room(masking, source.channels, weight.shape[0], bits, dtype, bias.dtype)),
            Pace(node.output.positions * weight.size * TYPICAL_COUNT / ACCUMULATIONS_PER_NS),
        )

    def accumulate(self, source: NDArray[Any], finish: Finish, workers: Workers) -> None:
        """As ``synapses.Synapse``."""
        _, height, bits, width, _ = self.weights.shape
        shape = height, width, bits
        arrays = flat_window(source), source.shape, self.weights.reshape(-1), shape
        geometry = self.stride, self.padding, self.masking

        def work(room: Arrays, share: Share) -> None:
            accumulate_masked(*arrays, *geometry, MaskRoom(*room), finish, share)

        workers.over_rows(self.lines, work, self.pace, self.room)
