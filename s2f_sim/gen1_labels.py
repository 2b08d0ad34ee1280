"""Data sets in the form of Prophesee's: recordings, each with an array of labelled boxes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_sim.labelled_sample import Classes, LabelledSample, truth_of, without_area

LABELS = "_bbox.npy"
_EVENTS = "_td"
_TIMES = ("t", "ts")
_FIELDS = ("x", "y", "w", "h", "class_id")
_LATEST_US = 1 << 50
_MAGIC = b"\x93NUMPY"


def read_gen1(
    folder: Path, classes: Classes, suffixes: Sequence[str]
) -> tuple[list[LabelledSample], list[str]]:
    """Samples of a folder with ``<name>_td.dat`` and ``<name>_bbox.npy``, one per labelled moment.

    Nothing is left out that the labels hold: neither the first half second nor small boxes.

    Args:
        folder: of the recordings.
        classes: of the network; the labels' ``class_id`` is the index of one.
        suffixes: of recordings.

    Returns:
        The samples, and what the user should know about them.

    Raises:
        InputError: an array is damaged or has other fields, or its recording is missing.

    Source: de Tournemire et al. 2020, arXiv:2001.08499; ``spike_yolo.md`` section 6.
    """
    samples, flat = [], 0
    for file in sorted(folder.glob(f"*{LABELS}")):
        labels = _labels(file, classes)
        path = _recording(file, suffixes)
        corners = np.column_stack(
            (labels["x"], labels["y"], labels["x"] + labels["w"], labels["y"] + labels["h"])
        )
        times = labels["t"].astype(np.int64)
        for moment in np.unique(times):
            here = times == moment
            boxes = [(float(a), float(b), float(c), float(d)) for a, b, c, d in corners[here]]
            indices = labels["class_id"][here].astype(int).tolist()
            truth, dropped = truth_of(
                (box, index, False) for box, index in zip(boxes, indices, strict=True)
            )
            key = f"{path.name}@{moment}"
            samples.append(LabelledSample(key, path, truth, int(moment)))
            flat += dropped
    if not samples:
        raise InputError(
            f"none of its arrays *{LABELS} labels anything",
            where=str(folder),
            fix="give a folder of recordings with labels",
        )
    return samples, without_area(flat)


def _recording(labels: Path, suffixes: Sequence[str]) -> Path:
    name = labels.name.removesuffix(LABELS)
    usual = [labels.with_name(f"{name}{end}{s}") for end in (_EVENTS, "") for s in suffixes]
    found = next((path for path in usual if path.is_file()), None)
    if found is None:
        raise InputError(
            "its recording is missing",
            where=str(labels),
            fix=f"put {name}{_EVENTS}{suffixes[0]} beside it",
        )
    return found


def _labels(file: Path, classes: Classes) -> dict[str, NDArray[np.float64]]:
    """The fields of an array as numbers; ``t`` in microseconds."""
    table = _array(file)
    names = table.dtype.names or ()
    time = next((name for name in _TIMES if name in names), None)
    if time is None or any(name not in names for name in _FIELDS):
        raise _damaged(file, f"its fields are not t or ts, {', '.join(_FIELDS)}")
    try:
        read = {name: table[name].astype(np.float64) for name in _FIELDS}
        read["t"] = table[time].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise _damaged(file, "its fields are no numbers") from error
    if any(column.ndim != 1 or not np.isfinite(column).all() for column in read.values()):
        raise _damaged(file, "its fields are not lists of finite numbers")
    for name, limit in (("t", _LATEST_US), ("class_id", classes.count)):
        wrong = (read[name] < 0) | (read[name] >= limit)
        if wrong.any():
            raise _damaged(file, f"label {int(wrong.argmax())} has {name} {read[name][wrong][0]:g}")
    return read


def _array(file: Path) -> NDArray[Any]:
    with file.open("rb") as opened:
        begins = opened.read(len(_MAGIC))
    if begins != _MAGIC:
        raise _damaged(file, "this is no array that NumPy wrote")
    try:
        # Mapped, because a damaged header can promise more than any memory holds.
        return np.array(np.load(file, mmap_mode="r", allow_pickle=False))
    # Such a header raises whatever its parsing runs into.
    except Exception as error:
        raise _damaged(file, "this is no array of numbers that NumPy wrote, or cut") from error


def _damaged(file: Path, what: str) -> InputError:
    return InputError(what, where=str(file), fix="copy or download the labels again")
