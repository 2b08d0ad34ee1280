"""Which integer type holds a sum, and what is said of one that nothing holds."""

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.graph import DType, Node
from s2f_deploy.ir.interval import Interval

EXACT_IN_DOUBLE = 2**53


def integer_type(node: Node, interval: Interval, sources: list[DType]) -> DType:
    """The narrowest type that holds the bounds and is no narrower than the sources'.

    Raises:
        UnsupportedPatternError: double precision would round such sums.
    """
    if interval.reach >= EXACT_IN_DOUBLE:
        raise too_wide(node, f"{interval.reach:,}")
    wide = node.output.dtype is DType.INT64 or DType.INT64 in sources
    return DType.INT64 if wide or not interval.fits(DType.INT32) else DType.INT32


def too_wide(node: Node, reached: str) -> UnsupportedPatternError:
    """The error for sums beyond 53 bits."""
    return UnsupportedPatternError(
        f"the sums of {node.name} can reach {reached}, which 53 bits do not hold",
        where=node.origin,
        fix="use --weights int8, fewer bits of sampling offsets, a smaller image or a smaller D; "
        "do not keep chains",
    )


def off_grid(node: Node) -> UnsupportedPatternError:
    """The error for real values that reach an operation of integers."""
    return UnsupportedPatternError(
        f"{node.name} computes with values on no grid of integers",
        where=node.origin,
        fix="let its input come from neurons, or export with --weights float32",
    )
