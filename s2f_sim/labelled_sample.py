"""One sample of a data set, and what is known to be in it."""

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from s2f_deploy.errors import InputError
from s2f_sim.average_precision import Truth
from s2f_sim.label_map import LabelMap
from s2f_sim.prediction import printable

_LONGEST_INDEX = 6
_SHOWN_NAMES = 8
# Far outside of any picture, far inside of what a square of it needs.
_FURTHEST = 1e6

Corners = tuple[float, float, float, float]
Thing = tuple[Corners, int, bool]
"""One object: its corners, its class, and whether it is a crowd."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSample:
    """A file, and the right answer about it.

    Attributes:
        key: unique in its data set.
        path: where it lies.
        target: index of its class; of detection what is in it, in pixels of the source; of
            segmentation the class of every pixel.
        at_us: of a recording: the moment that was labelled, microseconds.
    """

    key: str
    path: Path
    target: int | Truth | LabelMap
    at_us: int | None = None


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a network.

    Attributes:
        count: how many.
        names: of each, if the network came with names.
    """

    count: int
    names: tuple[str, ...] | None = None

    def index(self, label: str) -> int | None:
        """The class of a label, by name, by name in other letters, or by number; None if none.

        A name that several classes share names none.

        >>> Classes(3, ("ant", "bee", "cat")).index("Bee"), Classes(3).index("2")
        (1, 2)
        """
        for same in (str, str.casefold):
            found = [i for i, name in enumerate(self.names or ()) if same(name) == same(label)]
            if found:
                return found[0] if len(found) == 1 else None
        numeric = label.isascii() and label.isdecimal() and len(label) <= _LONGEST_INDEX
        return int(label) if numeric and int(label) < self.count else None

    def label(self, index: int) -> str:
        """Name of a class, ``class 17`` where the network came without names."""
        return printable(self.names[index]) if self.names else f"class {index}"

    def unknown(self, label: str, where: str) -> InputError:
        """The error for a label that is none of the classes."""
        if self.names:
            more = ", ..." if len(self.names) > _SHOWN_NAMES else ""
            known = ", ".join(map(printable, self.names[:_SHOWN_NAMES])) + more
        else:
            known = f"0 to {self.count - 1}, as it came without names"
        return InputError(
            f"{printable(label)!r} names no class, or several; the network's are: {known}",
            where=where,
            fix="rename it, or export the network with the names of its classes (--classes)",
        )


def inside(folder: Path, name: str, where: str) -> Path:
    """The file of that name in a folder or those below it.

    Raises:
        InputError: the name leads out of the folder.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    windows = PureWindowsPath(name)
    leads_out = parts.is_absolute() or ".." in parts.parts or windows.drive or windows.root
    if not parts.parts or leads_out or not name.isprintable():
        raise InputError(
            f"the file name {printable(name)!r} leads out of the folder of the files",
            where=where,
            fix="give names relative to the folder; --images chooses another one",
        )
    return folder / parts


def coordinate(value: object, where: str) -> float:
    """A finite number of pixels, out of JSON or as text.

    Raises:
        InputError: it is none.
    """
    number = math.nan
    # True is a number, too.
    if type(value) in (int, float, str):
        try:
            number = float(value)  # type: ignore[arg-type]
        except (ValueError, OverflowError):
            number = math.nan
    if not abs(number) <= _FURTHEST:
        raise InputError(
            f"{printable(repr(value)[:40])} is no coordinate of a box",
            where=where,
            fix="correct the annotation",
        )
    return number


def truth_of(things: Iterable[Thing]) -> tuple[Truth, int]:
    """What is in one picture, and how many boxes were left out: they have no area."""
    listed = list(things)
    kept = [t for t in listed if t[0][0] < t[0][2] and t[0][1] < t[0][3]]
    truth = Truth.of([t[0] for t in kept], [t[1] for t in kept], [t[2] for t in kept])
    return truth, len(listed) - len(kept)


def without_area(count: int) -> list[str]:
    """The notice about boxes that were left out."""
    return [f"{count:,} annotated boxes have no area and were left out"] if count else []


def digest_of(samples: Sequence[LabelledSample]) -> str:
    """sha256 over keys, sizes of files and labels, in hexadecimal.

    Raises:
        InputError: a file is missing, or two samples share a key.
    """
    digest = hashlib.sha256()
    sizes = {path: _size(path) for path in dict.fromkeys(sample.path for sample in samples)}
    missing = [path for path, size in sizes.items() if size is None]
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(sizes):,} files of the data set are missing",
            where=printable(str(missing[0])),
            fix="complete the data set, or choose its folder with --images",
        )
    keys = set()
    for sample in samples:
        if sample.key in keys:
            raise InputError(
                f"the data set lists {printable(sample.key)!r} twice",
                where=printable(str(sample.path)),
                fix="list every sample once",
            )
        keys.add(sample.key)
        entry = [sample.key, sizes[sample.path], _plain(sample.target), sample.at_us]
        digest.update(json.dumps(entry).encode() + b"\n")
    return digest.hexdigest()


def _size(path: Path) -> int | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _plain(target: int | Truth | LabelMap) -> Any:
    if isinstance(target, LabelMap):
        return [target.digest(), asdict(target.numbering)]
    if isinstance(target, Truth):
        columns: Sequence[np.ndarray[Any, Any]] = (target.boxes, target.classes, target.crowd)
        return [column.tolist() for column in columns]
    return target
