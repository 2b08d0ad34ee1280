"""How far one layer's currents are from those wanted, by channel and altogether."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ops.elementwise import per_channel

Array = NDArray[Any]


def errors(want: list[Array], got: list[Array]) -> Array:
    """float64[O, N]: all differences, by channel."""
    pairs = zip(want, got, strict=True)
    return np.concatenate([(b - a).reshape(len(a), -1) for a, b in pairs], axis=1)


def spread(want: list[Array], got: list[Array]) -> Array:
    """float64[O]: variance of the error; its mean the bias will take up."""
    variance: Array = errors(want, got).var(axis=1)
    return variance


def mean_error(want: list[Array], got: list[Array]) -> Array:
    """float64[O] of all differences; [0.0] without values."""
    return errors(want, got).mean(axis=1) if want else np.zeros(1)


def shifted(current: Array, bias: Array) -> Array:
    """Currents [O, ...] plus a bias [O] or a map of their shape."""
    added = per_channel(bias, current) if bias.ndim == 1 else bias.reshape(current.shape)
    shifted: Array = current + added
    return shifted


def relative_error(want: list[Array], got: list[Array]) -> float | None:
    """Root mean square of the differences over that of ``want``; None without values."""
    if not want:
        return None
    signal = float(np.sqrt(np.mean([np.mean(np.square(x)) for x in want])))
    error = float(np.sqrt(np.mean(np.square(errors(want, got)))))
    return error / signal if signal else 0.0
