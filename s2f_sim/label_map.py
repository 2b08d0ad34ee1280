"""Annotations of the class of every pixel, as PNG files that anybody may have made."""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2f_deploy.errors import InputError

SUFFIX = ".png"
IGNORED = 255
# Grey and palette files hold a number for every pixel, colours hold none.
_MODES = ("1", "L", "P", "I;16", "I;16B", "I")


@dataclass(frozen=True, slots=True)
class Numbering:
    """How the numbers in annotations mean classes.

    Attributes:
        first: the number of the first class; lower ones are ignored.
        ignored: numbers of pixels that nobody is asked about.
        objects: whether numbers above 0 number objects, which are all of class 1.
    """

    first: int = 0
    ignored: tuple[int, ...] = (IGNORED,)
    objects: bool = False


@dataclass(frozen=True, slots=True)
class LabelMap:
    """The annotation of one picture, in a file that is read when it is asked for.

    Attributes:
        path: PNG.
        numbering: of its pixels.
    """

    path: Path
    numbering: Numbering

    def read(self, classes: int) -> NDArray[np.int64]:
        """Classes int64[h, w], -1 where ignored.

        Raises:
            InputError: no readable file of numbers, or one of them is no class.
        """
        numbers, numbering = _numbers(self.path), self.numbering
        if numbering.objects:
            numbers = np.minimum(numbers, 1)
        ignored = np.isin(numbers, numbering.ignored) | (numbers < numbering.first)
        labels = np.where(ignored, -1, numbers - numbering.first)
        if labels.max(initial=-1) >= classes:
            wrong = int(labels.max()) + numbering.first
            last = classes - 1 + numbering.first
            raise InputError(
                f"the annotation has the number {wrong}, the network's classes are those from "
                f"{numbering.first} to {last}",
                where=str(self.path),
                fix="name a number that means no class with --ignore, and the one of the first "
                "class with --first-label",
            )
        return labels

    def digest(self) -> str:
        """sha256 of the file, in hexadecimal.

        Raises:
            InputError: it cannot be read.
        """
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest()
        except OSError as error:
            raise _unreadable(self.path, "the annotation is missing, or cannot be read") from error


def _numbers(path: Path) -> NDArray[np.int64]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG",)) as opened:
                mode, numbers = opened.mode, np.asarray(opened)
    # Decoders of damaged files raise whatever their parsing runs into.
    except Exception as error:
        raise _unreadable(path, "the annotation is no readable PNG file") from error
    if mode not in _MODES:
        raise _unreadable(path, "the annotation shows colours, not the numbers of classes")
    return numbers.astype(np.int64)


def _unreadable(path: Path, what: str) -> InputError:
    return InputError(
        what, where=str(path), fix="give a grey or palette PNG file whose pixels are class numbers"
    )
