"""Reading the files that event cameras and their data sets come in."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_sim.camera_events import Events
from s2f_sim.foreign_events import decode_foreign

Sensor = tuple[int, int]

GEN1_SENSOR, NMNIST_SENSOR = (304, 240), (34, 34)
_LONGEST_HEADER = 1 << 16
_HEADER_LINE = re.compile(rb"%[^\n]*\n")
# Two names of the same thing: changes of brightness, with x, y and a polarity.
_CHANGES = (0, 12)
_DAT_VERSION = 2
_DAT_EVENT = np.dtype([("t", "<u4"), ("word", "<u4")])
_COORDINATE, _Y_SHIFT, _POLARITY_SHIFT = (1 << 14) - 1, 14, 28
_NMNIST_BYTES = 5
# A row that no N-MNIST sensor has says that the 13 low bits of the clock ran over.
_OVERFLOW_ROW, _OVERFLOW_US = 240, 1 << 13


def read_events(path: str | os.PathLike[str], *, sensor: Sensor | None = None) -> Events:
    """The events of a ``.dat``, ``.bin``, ``.bs2``, ``.raw`` or ``.aedat4`` file.

    Args:
        path: the file; ``.raw`` and ``.aedat4`` need the library of the extra ``events``.
        sensor: width and height in pixels, used where the file does not say: Gen1's for ``.dat``,
            N-MNIST's for ``.bin`` and ``.bs2`` if it is None.

    Raises:
        InputError: no such file, no such format, cut, damaged, unsorted or empty.
    """
    path, where = Path(path), os.fspath(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise InputError(
            f"{path.suffix or 'no extension'!r} is no known format of events",
            where=where,
            fix=f"give a {known} file",
        )
    try:
        return reader(path, sensor, where)
    except OSError as error:
        raise InputError(
            f"the events cannot be read: {error.strerror or type(error).__name__}",
            where=where,
            fix="give a file that exists and may be read",
        ) from error


def _damaged(what: str, where: str) -> InputError:
    return InputError(what, where=where, fix="copy or download the file again")


def text_header(head: bytes, where: str) -> bytes:
    """The lines of ``head`` that begin with a percent sign.

    Raises:
        InputError: they do not end within 65,536 bytes.
    """
    end = 0
    while line := _HEADER_LINE.match(head, end):
        end = line.end()
    long = end == len(head) or head[end : end + 1] == b"%"
    if long and len(head) == _LONGEST_HEADER:
        raise _damaged(f"its header is longer than {_LONGEST_HEADER:,} bytes", where)
    if head[end : end + 1] == b"%":
        raise _damaged("its header is cut", where)
    return head[:end]


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LONGEST_HEADER)


def _read_dat(path: Path, sensor: Sensor | None, where: str) -> Events:
    """Prophesee's DAT, version 2. Source: ``spike_yolo.md`` section 6."""
    head = _head(path)
    header = text_header(head, where)
    kind, size = (*head[len(header) :], 0, 0)[:2]
    if kind not in _CHANGES or size != _DAT_EVENT.itemsize:
        raise _damaged(f"this is no DAT file of events: type {kind}, {size} bytes each", where)
    version = _header_number(header, b"Version")
    if version not in (None, _DAT_VERSION):
        raise _damaged(f"DAT version {version} is not read, only {_DAT_VERSION} is", where)
    first = len(header) + 2
    if (path.stat().st_size - first) % _DAT_EVENT.itemsize:
        raise _damaged("the file ends within an event", where)
    stored = np.fromfile(path, _DAT_EVENT, offset=first)
    word = stored["word"]
    return Events.checked(
        stored["t"],
        word & _COORDINATE,
        word >> _Y_SHIFT & _COORDINATE,
        word >> _POLARITY_SHIFT & 1,
        sensor=_declared(header) or sensor or GEN1_SENSOR,
        where=where,
    )


def _declared(header: bytes) -> Sensor | None:
    width, height = (_header_number(header, name) for name in (b"Width", b"Height"))
    return None if width is None or height is None else (width, height)


def _header_number(header: bytes, name: bytes) -> int | None:
    # More digits than any size has would only be slow to convert.
    found = re.search(rb"^% *" + name + rb" +(\d{1,9})\s*$", header, re.MULTILINE)
    return int(found[1]) if found else None


def _read_nmnist(path: Path, sensor: Sensor | None, where: str) -> Events:
    """Five bytes per event: x, y, polarity in the upper bit of 23 bits of microseconds.

    Source: Orchard et al. 2015, arXiv:1507.07629, and the reader published beside the data.
    """
    if path.stat().st_size % _NMNIST_BYTES:
        raise _damaged("the file ends within an event", where)
    stored = np.fromfile(path, np.uint8).reshape(-1, _NMNIST_BYTES)
    x, y = stored[:, 0], stored[:, 1]
    upper, middle, lower = (stored[:, i].astype(np.int64) for i in (2, 3, 4))
    overflow = y == _OVERFLOW_ROW
    t = ((upper & 127) << 16 | middle << 8 | lower) + np.cumsum(overflow) * _OVERFLOW_US
    p = stored[:, 2] >> 7
    real: NDArray[np.bool_] = ~overflow
    return Events.checked(
        t[real], x[real], y[real], p[real], sensor=sensor or NMNIST_SENSOR, where=where
    )


def _read_raw(path: Path, sensor: Sensor | None, where: str) -> Events:
    """Prophesee's EVT 2 and 3: the header must say which, as the words of both look alike."""
    header = text_header(_head(path), where)
    if not re.search(rb"^% *(evt [23]\.0|format EVT[23]\b)", header, re.MULTILINE):
        raise _damaged("this is no RAW file: its header names neither EVT 2 nor EVT 3", where)
    has_size = re.search(rb"geometry +\d+x\d+|width *= *\d+|Width +\d+", header)
    if not has_size and sensor is None:
        raise InputError(
            "its header does not say how large the sensor is",
            where=where,
            fix="pass sensor=(width, height)",
        )
    return decode_foreign(path, "evt", sensor, where)


def _read_aedat(path: Path, _: Sensor | None, where: str) -> Events:
    """AEDAT 4, the container of iniVation's cameras."""
    if not _head(path).startswith(b"#!AER-DAT4.0\r\n"):
        raise _damaged("this is no AEDAT file of version 4", where)
    return decode_foreign(path, "aedat", None, where)


_READERS: Mapping[str, Callable[[Path, Sensor | None, str], Events]] = {
    ".dat": _read_dat,
    ".bin": _read_nmnist,
    ".bs2": _read_nmnist,
    ".raw": _read_raw,
    ".aedat4": _read_aedat,
}
SUFFIXES = tuple(_READERS)
