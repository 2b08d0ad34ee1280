"""Attention of the ``events`` engine: one operand is held, the other arrives as events.

(q kᵀ) v: a key spike adds a column of q to the scores of its token, a value spike adds a column of
scores. q (kᵀ v): a key spike adds its token's values, a query spike adds a row of kᵀ v. All pairs
of spikes count, never only simultaneous ones.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_sim.kernels.accumulate import accumulate_rows
from s2f_sim.kernels.aligned import aligned_rows, aligned_zeros
from s2f_sim.kernels.events import build_events, event_capacity, event_list_bytes
from s2f_sim.workers import Workers

ADDITIONS_PER_NS = 10.0


def attend(node: Node, inputs: list[Any], workers: Workers) -> NDArray[Any]:
    """Counts q, k uint8[1, N, C] and v uint8[1, N, C_v] -> integers[1, N, L], heads in parallel."""
    heads = node["heads"]
    query, key, value = (
        operand.reshape(-1, heads, operand.shape[2] // heads) for operand in inputs
    )
    tokens, _, value_width = value.shape
    dtype = node.output.dtype.array_type
    result = aligned_rows(np.zeros((1, tokens, heads * value_width), dtype))
    of_head = _scores_first if node["association"] == "qk_v" else _values_first

    def work(first: int, last: int) -> None:
        for head in range(first, last):
            lanes = slice(head * value_width, (head + 1) * value_width)
            result[0, :, lanes] = of_head(query[:, head], key[:, head], value[:, head], dtype)

    # Two passes over tokens, spikes and rows, at a rough 10 additions a nanosecond.
    estimate_ns = 2 * tokens * key.shape[2] * heads * max(value_width, 16) / ADDITIONS_PER_NS
    workers.over_rows(heads, work, estimate_ns)
    return result


def largest_event_list_bytes(
    node: Node, query: TensorType, key: TensorType, value: TensorType
) -> int:
    """What one head allocates at the most to list spikes: the longer of its two lists.

    A thread works on one head at a time, and on one product at a time.
    """
    heads, tokens = node["heads"], key.positions
    width, value_width = key.channels // heads, value.channels // heads
    if node["association"] == "qk_v":
        keys = event_list_bytes(tokens, 1, width, key.levels)
        return max(keys, event_list_bytes(value_width, 1, tokens, value.levels))
    keys = event_list_bytes(width, 1, tokens, key.levels)
    return max(keys, event_list_bytes(tokens, 1, width, query.levels))


def _scores_first(
    query: NDArray[Any], key: NDArray[Any], value: NDArray[Any], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """uint8[N, d], uint8[N, d], uint8[N, d_v] -> integers[N, d_v]."""
    scores = _accumulated(key, query.T, dtype)
    return _accumulated(value.T, scores, dtype)[:, : len(query)].T


def _values_first(
    query: NDArray[Any], key: NDArray[Any], value: NDArray[Any], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """uint8[N, d], uint8[N, d], uint8[N, d_v] -> integers[N, d_v]."""
    held = _accumulated(key.T, value, dtype)
    return _accumulated(query, held, dtype)[:, : value.shape[1]]


def _accumulated(events: NDArray[Any], rows: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Σ over the spikes of uint8[R, M] of rows [M, W] -> integers[R, L]."""
    targets, sources = events.shape
    counts = np.ascontiguousarray(events)[:, None]
    levels = int(events.max(initial=0))
    index = np.empty(event_capacity(targets, 1, sources, levels), np.uint32)
    first = np.empty((targets, 2), np.int64)
    build_events(counts, 0, targets, index, first)
    held = aligned_rows(rows.astype(dtype))
    result = aligned_zeros((targets, held.shape[1]), dtype)
    accumulate_rows(first, index, held, result, 0, targets)
    return result
