"""What a YOLOv8 head's maps mean: boxes in input pixels and a score per class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError

STRIDES = (8, 16, 32)
_SIDES, _BINS = 4, 16
_BOX_CHANNELS = _SIDES * _BINS
_RANK = 4


def decode(
    maps: Sequence[NDArray[Any]], strides: Sequence[int] = STRIDES
) -> NDArray[np.floating[Any]]:
    """Maps[B, 64 + C, H_i, W_i] of each level -> [B, 4 + C, anchors] in the maps' own precision.

    Rows 0 to 3 are centre x, centre y, width, height in input pixels, the others a sigmoid per
    class. Anchors are ordered by level, then y, then x.

    Raises:
        InputError: the maps are not those of one head.

    Source: ``spike_yolo.md`` section 4; distances as an expectation over bins: Li et al. 2020,
    arXiv:2006.04388.
    """
    _check(maps, strides)
    return np.concatenate([_level(m, s) for m, s in zip(maps, strides, strict=True)], axis=2)


def _check(maps: Sequence[NDArray[Any]], strides: Sequence[int]) -> None:
    shapes = ", ".join(str(list(m.shape)) for m in maps)
    if len(maps) != len(strides) or {m.ndim for m in maps} != {_RANK}:
        what = f"maps of {shapes} are no head of {len(strides)} levels"
    elif len({m.shape[:2] for m in maps}) > 1:
        what = f"maps of {shapes} differ in their batch or channels"
    elif maps[0].shape[1] <= _BOX_CHANNELS:
        what = f"maps of {shapes} hold no class beside {_BOX_CHANNELS} channels for the box"
    else:
        return
    raise InputError(what, where="detection head", fix="give the head's raw maps, finest first")


def _level(maps: NDArray[Any], stride: int) -> NDArray[np.floating[Any]]:
    batch, channels, height, width = maps.shape
    real = maps if maps.dtype in (np.float32, np.float64) else maps.astype(np.float64)
    flat = real.reshape(batch, channels, height * width)
    distance = _expectation(flat[:, :_BOX_CHANNELS])
    y, x = np.divmod(np.arange(height * width), width)
    anchor = np.stack((x, y)).astype(real.dtype) + real.dtype.type(0.5)
    upper_left, lower_right = anchor - distance[:, :2], anchor + distance[:, 2:]
    box = np.concatenate(((upper_left + lower_right) / 2, lower_right - upper_left), axis=1)
    return np.concatenate((box * stride, _sigmoid(flat[:, _BOX_CHANNELS:])), axis=1)


def _expectation(logits: NDArray[Any]) -> NDArray[Any]:
    """Box part[B, 64, A] -> mean bin[B, 4, A] for left, top, right, bottom."""
    batch, _, anchors = logits.shape
    bins = logits.reshape(batch, _SIDES, _BINS, anchors)
    powers = np.exp(bins - bins.max(axis=2, keepdims=True))
    shares = powers / powers.sum(axis=2, keepdims=True)
    weights = np.arange(_BINS, dtype=logits.dtype)[:, None]
    return np.asarray((shares * weights).sum(axis=2))


def _sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    # Never the exponential of a large positive number, which would overflow.
    power = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1, power) / (1 + power))
