"""Recordings of digits by an event camera (N-MNIST): reading them, and showing them differently.

The archive has ``<number>.bs2`` and, for each split, a list ``<split><anything>.txt`` with a line
of number and class for each recording.

Source: Orchard et al. 2015, arXiv:1507.07629.
"""

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

CLASSES = tuple("0123456789")
SIDE = 34
POLARITIES = 2
_EVENT_BYTES = 5
# A row that the sensor does not have says that the 13 low bits of the clock ran over.
_OVERFLOW_ROW, _OVERFLOW_US = 240, 1 << 13
# Largest changes when a recording is shown differently: degrees, shares, pixels, shares of time.
_TURN, _SHEAR, _ZOOM, _SHIFT, _BEND = 15.0, 0.2, 0.2, 3.0, 0.8
_BEND_POINTS = 4
_LATER, _LOST = 0.04, 0.3


@dataclass(frozen=True, eq=False, slots=True)
class Recording:
    """One recording and what it shows.

    Attributes:
        t: int64[N], microseconds, never falling.
        x: int64[N], column, 0 on the left.
        y: int64[N], row, 0 at the top.
        p: int64[N], 1 for brighter, 0 for darker.
        label: its class.
    """

    t: Tensor
    x: Tensor
    y: Tensor
    p: Tensor
    label: int


def read_archive(archive: Path, split: str) -> list[Recording]:
    """All recordings of one split, ``train`` or ``test``, in the order of its list."""
    with zipfile.ZipFile(archive) as members:
        (listed,) = (n for n in members.namelist() if n.startswith(split) and n.endswith(".txt"))
        lines = members.read(listed).decode().splitlines()
        rows = [line.split() for line in lines if line and not line.startswith("#")]
        return [decode(members.read(f"{number}.bs2"), int(label)) for number, label in rows]


def decode(content: bytes, label: int) -> Recording:
    """Five bytes per event: x, y, polarity in the upper bit of 23 bits of microseconds."""
    stored: NDArray[np.int64] = (
        np.frombuffer(content, np.uint8).reshape(-1, _EVENT_BYTES).astype(np.int64)
    )
    overflow = stored[:, 1] == _OVERFLOW_ROW
    clock = (stored[:, 2] & 127) << 16 | stored[:, 3] << 8 | stored[:, 4]
    times = clock + np.cumsum(overflow) * _OVERFLOW_US
    columns = (times, stored[:, 0], stored[:, 1], stored[:, 2] >> 7)
    t, x, y, p = (torch.from_numpy(column[~overflow]) for column in columns)
    return Recording(t, x, y, p, label)


def frames(recording: Recording, timesteps: int, levels: int) -> Tensor:
    """How often each pixel got darker and brighter, at most ``levels``, oldest first.

    The time from the first event to the last is cut into ``timesteps`` equal parts.

    Returns:
        float32[T, 2, 34, 34]
    """
    start, length = int(recording.t[0]), int(recording.t[-1] - recording.t[0]) + 1
    part = torch.div((recording.t - start) * timesteps, length, rounding_mode="floor")
    return _counted(recording, part, recording.x, recording.y, (timesteps, levels))


def _counted(r: Recording, part: Tensor, x: Tensor, y: Tensor, most: tuple[int, int]) -> Tensor:
    timesteps, levels = most
    cell = ((part * POLARITIES + r.p) * SIDE + y) * SIDE + x
    shape = (timesteps, POLARITIES, SIDE, SIDE)
    return torch.bincount(cell, minlength=math.prod(shape)).clamp(max=levels).float().view(shape)


def augmented(
    recording: Recording, timesteps: int, levels: int, generator: torch.Generator
) -> Tensor:
    """``frames`` of the digit turned, sheared, zoomed, bent and shifted, with fewer events.

    The window begins and ends a little earlier or later, and so do its parts.
    """
    x, y = _moved(recording, generator)
    start, end = int(recording.t[0]), int(recording.t[-1]) + 1
    early, late = ((2 * torch.rand(2, generator=generator) - 1) * _LATER * (end - start)).tolist()
    # A window inside the recording leaves events out, one around it leaves its parts emptier.
    length = max(end - start + late - early, 1.0)
    part = ((recording.t - start - early) * (timesteps / length)).floor().long()
    kept = torch.rand(len(x), generator=generator) >= _LOST * float(
        torch.rand((), generator=generator)
    )
    for column, size in ((x, SIDE), (y, SIDE), (part, timesteps)):
        kept &= (column >= 0) & (column < size)
    left = Recording(recording.t[kept], x[kept], y[kept], recording.p[kept], recording.label)
    return _counted(left, part[kept], left.x, left.y, (timesteps, levels))


def _moved(recording: Recording, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Where the events of a distorted digit fall: columns and rows, some off the sensor."""
    # Somewhere in its pixel: whole coordinates would leave gaps in an enlarged digit.
    place = torch.rand(2, len(recording.x), generator=generator)
    place += torch.stack((recording.x, recording.y)) - SIDE / 2
    draws = (2 * torch.rand(7, generator=generator) - 1).tolist()
    angle = math.radians(_TURN) * draws[0]
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    shear = torch.tensor([[1.0, _SHEAR * draws[1]], [_SHEAR * draws[2], 1.0]])
    zoom = torch.tensor([1 + _ZOOM * draws[3], 1 + _ZOOM * draws[4]])
    shift = _SHIFT * torch.tensor(draws[5:])
    bends = torch.randn(1, 2, _BEND_POINTS, _BEND_POINTS, generator=generator) * _BEND
    bend = F.interpolate(bends, (SIDE, SIDE), mode="bicubic", align_corners=True)[0]
    moved = (turn @ shear * zoom) @ place + (shift + SIDE / 2)[:, None]
    moved += bend[:, recording.y, recording.x]
    x, y = moved.floor().long()
    return x, y
