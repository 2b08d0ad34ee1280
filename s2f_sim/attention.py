"""Attention of the ``events`` engine: one operand is held, the other arrives as events.

(q kᵀ) v: a key spike adds a column of q to the scores of its token, a value spike adds a column of
scores. q (kᵀ v): a key spike adds its token's values, a query spike adds a row of kᵀ v. All pairs
of spikes count, never only simultaneous ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_sim.finishing import finish_sums
from s2f_sim.kernels.attention import scores_first
from s2f_sim.kernels.events import flat_window, list_bytes, list_length
from s2f_sim.kernels.finish import Finish
from s2f_sim.kernels.held_values import LANES, hold_values, read_values
from s2f_sim.kernels.sharing import Share
from s2f_sim.layout import tile_positions
from s2f_sim.rooms import Arrays, Room
from s2f_sim.workers import Pace, Workers

ADDITIONS_PER_NS = 10.0
_Operands = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


class Attention:
    """One attention node, with the layout of what it holds.

    Args:
        node: of op ``attention``.
        types: of its query, key and value.
    """

    def __init__(self, node: Node, types: Sequence[TensorType]) -> None:
        query, key, value = types
        self._node = node
        self._heads, self._channels, self._outputs = node["heads"], query.channels, value.channels
        self._width = value.channels // self._heads
        self._kind = node.output.dtype.array_type
        pitch = -(-self._width // LANES) * LANES
        self._held_of = np.arange(0, query.channels * pitch, pitch)
        first = np.arange(0, value.channels, self._width)
        self._value_of = np.repeat(first, query.channels // self._heads)
        self._held = np.empty(query.channels * pitch, self._kind)
        self._tile = min(tile_positions(value.channels), query.positions)
        self._room = Room(
            (list_length(1, query.channels, max(query.levels, key.levels)), np.uint32),
            (2, np.int64),
            (self._tile * self._outputs + LANES, self._kind),
        )
        self._holding, self._reading = (
            Pace(read.channels * read.positions * self._width / ADDITIONS_PER_NS)
            for read in (key, query)
        )

    @property
    def values_first(self) -> bool:
        """Whether it is q (kᵀ v)."""
        return bool(self._node["association"] != "qk_v")

    def accumulate(
        self, operands: Sequence[NDArray[Any]], finish: Finish, workers: Workers
    ) -> None:
        """Counts q uint8[1, N, C], k uint8[1, M, C], v uint8[1, M, V]: sums T[N, V], finished."""
        query, key, value = (operand.reshape(-1, operand.shape[2]) for operand in operands)
        if self.values_first:
            self._values_first((query, key, value), finish, workers)
        else:
            _scores_first(self._node, (query, key, value), finish, workers)

    def _values_first(self, operands: _Operands, finish: Finish, workers: Workers) -> None:
        query, key, value = operands
        channels, width, tile = self._channels, self._width, self._tile
        held = self._held
        keyed = flat_window(key), len(key), channels, value.reshape(-1)
        asked = flat_window(query), channels, held, self._held_of, self._value_of, width, tile

        def hold(room: Arrays, share: Share) -> None:
            rows = self._value_of, held, self._held_of, width
            given: Any = *keyed, *rows, *room[:2], share
            hold_values(*given)

        def read(room: Arrays, share: Share) -> None:
            given: Any = *asked, *room, finish, share
            read_values(*given)

        # Nobody else may hold anything here meanwhile.
        with workers.lock:
            workers.over_rows(channels, hold, self._holding, self._room)
            workers.over_rows(len(query), read, self._reading, self._room)


def _scores_first(node: Node, operands: _Operands, finish: Finish, workers: Workers) -> None:
    query, key, value = operands
    heads, queries, outputs = node["heads"], len(query), value.shape[1]
    gathering = scores_first(*operands, heads, node.output.dtype.array_type)
    # Two passes over tokens, spikes and rows.
    additions = (query.size + key.size) * max(outputs // heads, 16)
    pace = Pace(additions / ADDITIONS_PER_NS)
    workers.over_rows(heads, lambda _, share: gathering.run(workers.threads, share), pace)
    by_query = gathering.result(heads, queries).transpose(2, 0, 1)
    finish_sums(np.ascontiguousarray(by_query).reshape(-1), finish, workers)


def largest_event_list_bytes(
    node: Node, query: TensorType, key: TensorType, value: TensorType
) -> int:
    """What one thread allocates to list spikes: of one token, or of a channel of all tokens."""
    if node["association"] != "qk_v":
        return list_bytes(1, key.channels, max(query.levels, key.levels))
    width, tokens = key.channels // node["heads"], max(query.positions, key.positions)
    levels = max(operand.levels for operand in (query, key, value))
    return list_bytes(1, max(width, tokens), levels)
