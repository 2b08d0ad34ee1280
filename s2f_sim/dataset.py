"""A folder of images as samples, read when they are asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_sim.photograph import read_image
from s2f_sim.preprocess import Preprocessing, prepare

T = TypeVar("T")

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".webp")


def image_files(folder: Path) -> list[Path]:
    """All image files in a folder and those below it, sorted by path.

    Raises:
        InputError: there are none, or no folder.
    """
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise InputError(
            "there are no images" if folder.is_dir() else "there is no such folder",
            where=str(folder),
            fix=f"name a folder that holds {', '.join(SUFFIXES[:3])} ... files",
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


class ImageSamples(Sequence[NDArray[np.float32]]):
    """Images as a network takes them, float32[1, 3, H, W] each."""

    def __init__(self, files: Sequence[Path], preprocessing: Preprocessing) -> None:
        self.files = list(files)
        self._preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, index: slice) -> "ImageSamples": ...
    def __getitem__(self, index: int | slice) -> "NDArray[np.float32] | ImageSamples":
        """One image, read now, or a part of them."""
        if isinstance(index, slice):
            return ImageSamples(self.files[index], self._preprocessing)
        return prepare(read_image(self.files[index]), self._preprocessing)
