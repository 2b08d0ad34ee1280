"""What an event camera saw: changes of brightness at pixels, with their times."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError

# No event camera comes near it; a damaged header does.
LONGEST_SIDE = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """A recording, or a part of one.

    Attributes:
        t: int64[N], microseconds, never falling.
        x: uint16[N], column, 0 on the left.
        y: uint16[N], row, 0 at the top.
        p: uint8[N], 1 for brighter, 0 for darker.
        width: columns of the sensor.
        height: rows of the sensor.
    """

    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.uint8]
    width: int
    height: int

    @classmethod
    def checked(
        cls, t: Any, x: Any, y: Any, p: Any, *, sensor: tuple[int, int], where: str
    ) -> "Events":
        """From what a file holds; ``sensor`` is width, height.

        Raises:
            InputError: there are no events, their times fall, or one lies outside the sensor.
        """
        width, height = sensor
        if not 1 <= min(sensor) <= max(sensor) <= LONGEST_SIDE:
            raise _unusable(f"a sensor of {width:,}x{height:,} pixels", where)
        if not len(t):
            raise _unusable("it holds no events", where)
        times = np.ascontiguousarray(t, np.int64)
        falls = np.flatnonzero(times[1:] < times[:-1])
        if len(falls) or times[0] < 0:
            at = int(falls[0]) + 1 if len(falls) else 0
            raise _unusable(f"the time of event {at:,} is before that of the one before it", where)
        outside = np.flatnonzero((x >= width) | (y >= height))
        if len(outside):
            at = int(outside[0])
            raise _unusable(
                f"event {at:,} is at x {int(x[at])}, y {int(y[at])} of a sensor of "
                f"{width}x{height} pixels",
                where,
            )
        return cls(
            times,
            np.ascontiguousarray(x, np.uint16),
            np.ascontiguousarray(y, np.uint16),
            np.ascontiguousarray(p, np.uint8),
            width,
            height,
        )

    def __len__(self) -> int:
        return len(self.t)

    def window(self, start: int, end: int) -> "Events":
        """The events of start <= t < end, microseconds; may be none."""
        first, last = np.searchsorted(self.t, (start, end), side="left")
        part = slice(int(first), int(last))
        return Events(
            self.t[part], self.x[part], self.y[part], self.p[part], self.width, self.height
        )


def _unusable(what: str, where: str) -> InputError:
    return InputError(
        what, where=where, fix="give a complete recording of the sensor, sorted by time"
    )
