"""Memory that kernels work in, the same for one layer after the other: so it stays in the cache."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from s2f_sim.kernels.aligned import aligned_bytes, whole_lines

Arrays = Any
"""A tuple of arrays; how many there are is between a layer and its kernel."""


APART = 1 << 14
"""Bytes between what two members work in.

A processor fetches ahead where a thread runs through memory, by some kilobytes. If what it fetches
beyond the end belongs to another thread, lines go back and forth between their caches: on cores
that share none, two threads were hardly faster than one.
"""


class Room:
    """Some arrays, for every member of a share its own; whatever is in them when a kernel begins.

    Args:
        arrays: elements and type of each, of one member.
    """

    def __init__(self, *arrays: tuple[int, DTypeLike]) -> None:
        self._arrays = [
            (np.dtype(kind), whole_lines(elements * np.dtype(kind).itemsize) + APART)
            for elements, kind in arrays
        ]
        self.nbytes = sum(nbytes for _, nbytes in self._arrays)

    def arrays(self, memory: NDArray[np.uint8], members: int) -> Arrays:
        """Views T[members, elements or more]."""
        views, at = [], 0
        for kind, nbytes in self._arrays:
            end = at + members * nbytes
            views.append(memory[at:end].view(kind).reshape(members, -1))
            at = end
        return tuple(views)


NO_ROOM = Room()


class Rooms:
    """Of all layers, in one place.

    Args:
        members: threads that may share a kernel.
    """

    def __init__(self, members: int) -> None:
        self._members = members
        self._known: dict[Room, Arrays] = {}
        self.memory = aligned_bytes(0)

    def of(self, room: Room) -> Arrays:
        """Its arrays; those of a room before lie in the same memory."""
        found = self._known.get(room)
        if found is None:
            needed = self._members * room.nbytes
            if needed > self.memory.size:
                self.memory = aligned_bytes(needed)
                self._known.clear()
            found = self._known[room] = room.arrays(self.memory, self._members)
        return found
