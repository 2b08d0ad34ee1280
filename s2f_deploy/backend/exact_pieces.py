"""Weights as sums of pieces, each of which float32 sums without rounding."""

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.backend.onnx_writer import Array
from s2f_deploy.ir import dyadic
from s2f_deploy.ir.graph import Node
from s2f_deploy.ir.interval import Interval

EXACT_IN_FLOAT = 2**24
COUNTS = (1, 2, 3, 4, 6, 8)
FEWEST_BITS = 2
"""Of a piece: the digits 0 and 1 alone never end a negative number."""


def exact_pieces(node: Node, weight: Array, source: Interval) -> list[Array] | None:
    """float32 arrays that add up to the weights, their own sums below 2²⁴ units.

    Args:
        node: conv2d or linear.
        weight: float64[O, ...], its rows multiples of powers of two.
        source: of the integers that the weights multiply.

    Returns:
        As few as suffice, or None where none do.
    """
    exponents = dyadic.row_exponents(weight)
    rows = np.where(exponents == dyadic.NO_EXPONENT, 0, exponents)
    whole = dyadic.units(weight, rows)
    total = 8 * dyadic.smallest_type(whole).itemsize
    for count in COUNTS:
        bits = max(-(-total // count), FEWEST_BITS)
        digits = split(whole, bits)
        if all(_reach(node, piece, source) < EXACT_IN_FLOAT for piece in digits):
            by_row = rows.reshape(-1, *[1] * (weight.ndim - 1))
            return [
                np.ldexp(piece.astype(np.float64), by_row + bits * k).astype(np.float32)
                for k, piece in enumerate(digits)
                if k == 0 or piece.any()
            ]
    return None


def _reach(node: Node, weight: Array, source: Interval) -> int:
    by_tap = weight.reshape(*weight.shape[:2], -1)
    groups = node["groups"] if node.op == "conv2d" else 1
    return source.weighted(by_tap, np.zeros(len(weight), np.int64), groups).reach


def split(whole: NDArray[np.int64], bits: int) -> list[NDArray[np.int64]]:
    """Integers as Σ pieceₖ · 2**(bits · k), every piece but the last in 0 .. 2**bits - 1.

    >>> [piece.tolist() for piece in split(np.array([-3, 300]), 8)]
    [[253, 44], [-1, 1]]
    """
    pieces: list[NDArray[np.int64]] = []
    rest = whole
    while (np.abs(rest) >= 2 ** (bits - 1)).any():
        pieces.append(rest & (2**bits - 1))
        rest = rest >> bits
    return [*pieces, rest]
