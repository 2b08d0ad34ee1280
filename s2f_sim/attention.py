"""Attention of the ``events`` engine: one operand is held, the other arrives as events.

(q kᵀ) v: a key spike adds a column of q to the scores of its token, a value spike adds a column of
scores. q (kᵀ v): a key spike adds its token's values, a query spike adds a row of kᵀ v. All pairs
of spikes count, never only simultaneous ones.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_sim.finishing import finish_sums
from s2f_sim.kernels.attention import scores_first
from s2f_sim.kernels.events import flat_window, list_bytes, list_length
from s2f_sim.kernels.finish import Finish
from s2f_sim.kernels.held_values import LANES, hold_values, read_values
from s2f_sim.layout import tile_positions
from s2f_sim.workers import Workers

ADDITIONS_PER_NS = 10.0
_Operands = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def attend(node: Node, inputs: list[Any], finish: Finish, workers: Workers) -> None:
    """Counts q uint8[1, N, C], k uint8[1, M, C], v uint8[1, M, V]: sums T[N, V], finished."""
    query, key, value = (operand.reshape(-1, operand.shape[2]) for operand in inputs)
    if node["association"] == "qk_v":
        _scores_first(node, (query, key, value), finish, workers)
    else:
        _values_first(node, (query, key, value), finish, workers)


def _values_first(node: Node, operands: _Operands, finish: Finish, workers: Workers) -> None:
    query, key, value = operands
    heads, channels, outputs = node["heads"], query.shape[1], value.shape[1]
    width, kind = outputs // heads, node.output.dtype.array_type
    pitch = -(-width // LANES) * LANES
    held = np.zeros(channels * pitch, kind)
    held_of = np.arange(0, channels * pitch, pitch)
    value_of = np.repeat(np.arange(0, outputs, width), channels // heads)
    keys, queries, values = flat_window(key), flat_window(query), value.reshape(-1)
    levels = max(int(operand.max(initial=0)) for operand in (query, key))
    tile = min(tile_positions(outputs), len(query))

    def room() -> tuple[NDArray[Any], NDArray[Any]]:
        return np.empty(list_length(1, channels, levels), np.uint32), np.empty(2, np.int64)

    def hold(first: int, last: int) -> None:
        keyed = keys, len(key), channels, values, value_of, held, held_of, width
        hold_values(*keyed, *room(), first, last)

    def read(first: int, last: int) -> None:
        asked = queries, channels, held, held_of, value_of, width, tile
        sums = np.empty(tile * outputs + LANES, kind)
        read_values(*asked, *room(), sums, finish, first, last)

    workers.over_rows(channels, hold, key.size * width / ADDITIONS_PER_NS)
    workers.over_rows(len(query), read, query.size * width / ADDITIONS_PER_NS)


def _scores_first(node: Node, operands: _Operands, finish: Finish, workers: Workers) -> None:
    query, key, value = operands
    heads, queries, outputs = node["heads"], len(query), value.shape[1]
    gathering = scores_first(*operands, heads, node.output.dtype.array_type)
    # Two passes over tokens, spikes and rows.
    additions = (query.size + key.size) * max(outputs // heads, 16)
    workers.over_rows(heads, gathering.run, additions / ADDITIONS_PER_NS)
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
