"""A folder of pictures or recordings as samples, read when they are asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_sim.preparation import Preparation

T = TypeVar("T")


def sample_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """All files of some kinds in a folder and those below it, sorted by path.

    Raises:
        InputError: there are none, or no folder.
    """
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        raise InputError(
            "there are no such files" if folder.is_dir() else "there is no such folder",
            where=str(folder),
            fix=f"name a folder that holds {', '.join(suffixes[:3])} ... files",
        )
    return found


def evenly(items: Sequence[T], count: int | None) -> list[T]:
    """``count`` of the items, evenly spaced, or all if there are fewer or ``count`` is None.

    >>> evenly("abcdef", 3)
    ['a', 'c', 'e']
    """
    if count is None or count >= len(items):
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


class Samples(Sequence[NDArray[np.float32]]):
    """Files as a network takes them, float32[1, ...] each."""

    def __init__(self, files: Sequence[Path], preparation: Preparation) -> None:
        self.files = list(files)
        self._preparation = preparation

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, index: slice) -> "Samples": ...
    def __getitem__(self, index: int | slice) -> "NDArray[np.float32] | Samples":
        """One file, read now, or a part of them."""
        if isinstance(index, slice):
            return Samples(self.files[index], self._preparation)
        return self._preparation.read(self.files[index]).x
