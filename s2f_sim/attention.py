"""Attention of the ``events`` engine: one operand is held, the other arrives as events.

(q kᵀ) v: a key spike adds a column of q to the scores of its token, a value spike adds a column of
scores. q (kᵀ v): a key spike adds its token's values, a query spike adds a row of kᵀ v. All pairs
of spikes count, never only simultaneous ones.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_sim.kernels.attention import scores_first, values_first
from s2f_sim.kernels.events import list_bytes
from s2f_sim.workers import Workers

ADDITIONS_PER_NS = 10.0


def attend(node: Node, inputs: list[Any], workers: Workers) -> NDArray[Any]:
    """Counts q uint8[1, N, C], k uint8[1, M, C], v uint8[1, M, V] -> T[1, N, V], by heads."""
    heads = node["heads"]
    query, key, value = (operand.reshape(-1, operand.shape[2]) for operand in inputs)
    queries, outputs = len(query), value.shape[1]
    first = node["association"] == "qk_v"
    prepare = scores_first if first else values_first
    gathering = prepare(query, key, value, heads, node.output.dtype.array_type)
    # Two passes over tokens, spikes and rows.
    additions = (query.size + key.size) * max(outputs // heads, 16)
    workers.over_rows(heads, gathering.run, additions / ADDITIONS_PER_NS)
    sums = gathering.result(heads, queries if first else outputs // heads)
    by_query = sums.transpose(2, 0, 1) if first else sums.transpose(1, 0, 2)
    return np.ascontiguousarray(by_query).reshape(1, queries, outputs)


def largest_event_list_bytes(
    node: Node, query: TensorType, key: TensorType, value: TensorType
) -> int:
    """What one thread allocates to list spikes: a head's of one token, or a channel's of all."""
    width, tokens = key.channels // node["heads"], max(query.positions, key.positions)
    levels = max(operand.levels for operand in (query, key, value))
    return list_bytes(1, max(width, tokens), levels)
