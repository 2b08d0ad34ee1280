"""Attention by accumulation: one operand is held, the other arrives as events."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.add_rows import FLOAT_LANES
from s2f_sim.kernels.events import flat_window, list_row
from s2f_sim.kernels.kernel import kernel
from s2f_sim.kernels.plain_rows import add_plain_rows, whole_registers
from s2f_sim.kernels.spiking import WINDOW


@kernel
def _gather(
    flat: NDArray[Any],
    start: int,
    step: int,
    sources: int,
    levels: int,
    held: NDArray[Any],
    base: int,
    pitch: int,
    sums: NDArray[Any],
) -> None:
    """``sums[r] += held[m]`` for every spike of the m-th of a run of counts, run by run.

    Args:
        flat: uint8 counts, at most ``levels``, at least 64 of them.
        start: element of the first run's first count.
        step: elements from one run to the next.
        sources: counts of a run.
        levels: of the counts.
        held: flat rows.
        base: element of the first row.
        pitch: elements from one row to the next.
        sums: T[R, L], L whole registers of 16, zeroed first.
    """
    targets, lanes = sums.shape
    index = np.empty(sources * levels + WINDOW, np.uint32)
    first = np.empty(2, np.int64)
    membranes = sums.reshape(-1)
    membranes[:] = 0
    for target in range(targets):
        list_row(flat, start + target * step, 1, sources, index, first)
        lane = 0
        while lane < lanes:
            registers = whole_registers((lanes - lane) // FLOAT_LANES)
            at = target * lanes + lane
            add_plain_rows(index, 0, first[1], held, base + lane, pitch, membranes, at, registers)
            lane += registers * FLOAT_LANES


@kernel
def _transposed(counts: NDArray[Any], first: int, target: NDArray[Any]) -> None:
    """Columns of uint8[N, C], from the ``first`` on, as rows of T[d, N or more]."""
    for token in range(counts.shape[0]):
        for channel in range(target.shape[0]):
            target[channel, token] = counts[token, first + channel]


@kernel
def attend_values_first(
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    heads: int,
    levels: int,
    result: NDArray[Any],
    first_head: int,
    last_head: int,
) -> None:
    """Attention as q (kᵀ v): keys gather values, then queries gather rows of kᵀ v.

    Args:
        query: uint8[N, C].
        key: uint8[M, C].
        value: uint8[M, V].
        heads: how many, dividing C and V.
        levels: largest count of queries and keys.
        result: out, T[N, V].
        first_head: first head to work on.
        last_head: one past the last.
    """
    tokens, channels = key.shape
    outputs = value.shape[1]
    width, value_width = channels // heads, outputs // heads
    lanes = (value_width + FLOAT_LANES - 1) // FLOAT_LANES * FLOAT_LANES
    queries = flat_window(query)
    keys = np.zeros((width, max(tokens, WINDOW)), np.uint8)
    # Whole registers are read of the last row, too.
    values = np.zeros(tokens * outputs + lanes, result.dtype)
    counts = value.reshape(-1)
    for at in range(tokens * outputs):
        values[at] = counts[at]
    held = np.empty((width, lanes), result.dtype)
    sums = np.empty((len(query), lanes), result.dtype)
    for head in range(first_head, last_head):
        _transposed(key, head * width, keys)
        base = head * value_width
        flat = keys.reshape(-1)
        _gather(flat, 0, keys.shape[1], tokens, levels, values, base, outputs, held)
        rows = held.reshape(-1)
        _gather(queries, head * width, channels, width, levels, rows, 0, lanes, sums)
        for token in range(len(query)):
            for channel in range(value_width):
                result[token, base + channel] = sums[token, channel]


@kernel
def attend_scores_first(
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    heads: int,
    levels: int,
    result: NDArray[Any],
    first_head: int,
    last_head: int,
) -> None:
    """Attention as (q kᵀ) v: keys gather columns of q, then values gather columns of scores.

    Arguments are those of `attend_values_first`; ``levels`` is the largest count of keys, values.
    """
    tokens, channels = query.shape
    width, value_width = channels // heads, value.shape[1] // heads
    lanes = (tokens + FLOAT_LANES - 1) // FLOAT_LANES * FLOAT_LANES
    keys = flat_window(key)
    values = np.zeros((value_width, max(len(key), WINDOW)), np.uint8)
    columns = np.zeros((width, lanes), result.dtype)
    scores = np.empty((len(key), lanes), result.dtype)
    sums = np.empty((value_width, lanes), result.dtype)
    for head in range(first_head, last_head):
        _transposed(query, head * width, columns)
        rows = columns.reshape(-1)
        _gather(keys, head * width, channels, width, levels, rows, 0, lanes, scores)
        _transposed(value, head * value_width, values)
        flat = values.reshape(-1)
        _gather(flat, 0, values.shape[1], len(key), levels, scores.reshape(-1), 0, lanes, sums)
        for token in range(tokens):
            for channel in range(value_width):
                result[token, head * value_width + channel] = sums[channel, token]


@kernel
def add_held(
    counts: NDArray[Any],
    held: NDArray[Any],
    levels: int,
    result: NDArray[Any],
    first_row: int,
    last_row: int,
) -> None:
    """``result[p] = held[I] + Σ held[i]`` for every spike of channel i at position p.

    Args:
        counts: uint8[P, I].
        held: T[I + 1, Q].
        levels: largest count.
        result: out, T[P, Q].
        first_row: first position to work on.
        last_row: one past the last.
    """
    sources, outputs = counts.shape[1], held.shape[1]
    lanes = (outputs + FLOAT_LANES - 1) // FLOAT_LANES * FLOAT_LANES
    rows = np.zeros((sources, lanes), held.dtype)
    for source in range(sources):
        for output in range(outputs):
            rows[source, output] = held[source, output]
    flat = flat_window(counts)
    table = rows.reshape(-1)
    sums = np.empty((1, lanes), held.dtype)
    for row in range(first_row, last_row):
        _gather(flat, row * sources, sources, sources, levels, table, 0, lanes, sums)
        for output in range(outputs):
            result[row, output] = held[sources, output] + sums[0, output]
