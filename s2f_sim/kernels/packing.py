"""Weight rows as `add_rows` reads them: in blocks of outputs, integers in pairs.

A block holds the outputs that are accumulated at once, of every row, so that what one block reads
stays in the cache nearest to the core while positions go by.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.add_rows import (
    FLOAT_LANES,
    FLOAT_REGISTERS,
    REGISTER_BYTES,
    SHAPES,
    shape_lanes,
)
from s2f_sim.kernels.aligned import aligned_copy

CACHE_BYTES = 40 * 1024
"""What one block may take of the cache nearest to the core, where several widths would do."""

UNBOUNDED = 1 << 62
_NARROW = SHAPES.index((1.0, 0.5))
_WHOLE = [shape for shape, parts in enumerate(SHAPES) if set(parts) == {1.0}]
Block = tuple[int, tuple[int, ...]]
"""Shape, and lanes of each register."""


@dataclass(frozen=True, eq=False, slots=True)
class PackedRows:
    """Rows of weights in blocks of outputs.

    Attributes:
        lanes: flat; float32, or int16 pairs of int8 weights, int32 pairs of int16 weights.
        blocks: int64[B, 5]: first output, shape, first element and pitch of each block, and the
            first element of a row of zeros, the block's last.
        burst: how many rows may be added before lanes could overflow.
    """

    lanes: NDArray[Any]
    blocks: NDArray[np.int64]
    burst: int


def event_cycles(outputs: int, dtype: np.dtype[Any]) -> float:
    """Roughly what one event costs that adds a row of this many outputs, to compare layouts.

    Fetching an event costs as much as adding a register or two, so narrow rows cost no less.
    """
    if dtype == np.float32:
        return max(1.7, float(-(-outputs // FLOAT_LANES)))
    registers = outputs * dtype.itemsize / REGISTER_BYTES
    return max(1.7, 1.7 * -(-2 * registers // 1) / 2 + 0.2)


def pack_rows(rows: NDArray[Any], cache_bytes: int = CACHE_BYTES) -> PackedRows:
    """Lay out int8, int16 or float32 weights [M, O].

    Args:
        rows: the weights.
        cache_bytes: what a block of more than one register of pairs may take.
    """
    whole = rows.dtype != np.float32
    fitting = [
        shape
        for shape, parts in enumerate(SHAPES)
        if len(rows) * sum(parts) * REGISTER_BYTES <= cache_bytes or shape <= _NARROW
    ]
    blocks = (
        _pair_blocks(rows.shape[1], 2 * rows.itemsize, fitting)
        if whole
        else _float_blocks(rows.shape[1])
    )
    packed, table, base, output = [], [], 0, 0
    rows = np.concatenate([rows, np.zeros((1, rows.shape[1]), rows.dtype)])
    for shape, registers in blocks:
        block = _packed(rows, output, registers)
        pitch, silence = block.shape[1], base + block.size - block.shape[1]
        table.append((output, shape, base, pitch, silence))
        packed.append(block.ravel())
        base += block.size
        output += sum(registers) * (2 if whole else 1)
    lanes = aligned_copy(np.concatenate(packed))
    return PackedRows(lanes, np.array(table, np.int64), longest_burst(rows))


def pair_type(weight: np.dtype[Any]) -> np.dtype[Any]:
    """Of the lanes that hold pairs of these weights."""
    return np.dtype({1: np.int16, 2: np.int32}[weight.itemsize])


def longest_burst(rows: NDArray[Any]) -> int:
    """How many rows of these weights a lane of their pairs can add, whichever they are."""
    if rows.dtype == np.float32:
        return UNBOUNDED
    largest = int(np.abs(rows.astype(np.int64)).max(initial=0))
    return int(np.iinfo(pair_type(rows.dtype)).max) // max(largest, 1)


def _float_blocks(outputs: int) -> list[Block]:
    """As wide as they come."""
    left = -(-outputs // FLOAT_LANES)
    blocks = []
    while left:
        shape = max(k for k, registers in enumerate(FLOAT_REGISTERS) if registers <= left)
        blocks.append((shape, (FLOAT_LANES,) * FLOAT_REGISTERS[shape]))
        left -= FLOAT_REGISTERS[shape]
    return blocks


def _pair_blocks(outputs: int, pair_bytes: int, fitting: list[int]) -> list[Block]:
    """One that covers all outputs if it fits the cache, else the widest that does."""
    sizes = [2 * sum(shape_lanes(shape, pair_bytes)) for shape in range(len(SHAPES))]
    blocks = []
    while outputs > 0:
        covering = [shape for shape in fitting if sizes[shape] >= outputs]
        whole = [shape for shape in fitting if sizes[shape] <= outputs and shape in _WHOLE]
        shape = min(covering) if covering else max(whole)
        blocks.append((shape, shape_lanes(shape, pair_bytes)))
        outputs -= sizes[shape]
    return blocks


def _packed(rows: NDArray[Any], output: int, registers: tuple[int, ...]) -> NDArray[Any]:
    """One block of rows [M, O] from ``output`` on, as [M, lanes]."""
    if rows.dtype == np.float32:
        return _columns(rows, output, sum(registers))
    lane = pair_type(rows.dtype)
    half = 4 * lane.itemsize
    parts = []
    for lanes in registers:
        even = _columns(rows, output, lanes).astype(np.int64)
        odd = _columns(rows, output + lanes, lanes).astype(np.int64)
        parts.append((odd << half) + even + (1 << (half - 1)))
        output += 2 * lanes
    return np.concatenate(parts, axis=1).astype(lane)


def _columns(rows: NDArray[Any], first: int, count: int) -> NDArray[Any]:
    """``count`` columns from ``first`` on, zeros where there are none."""
    result = np.zeros((len(rows), count), rows.dtype)
    present = rows[:, first : first + count]
    result[:, : present.shape[1]] = present
    return result
