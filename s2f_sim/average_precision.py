"""Mean average precision of detections, by COCO's rules: all sizes, 100 detections per class."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError

# Source: Lin et al. 2014, arXiv:1405.0312, and the definitions of the COCO detection challenge.
IOU_LEVELS = np.linspace(0.5, 0.95, 10)
RECALL_LEVELS = np.linspace(0.0, 1.0, 101)
_MOST_PER_CLASS = 100
_LARGEST_AREA = 1e10
_COLUMNS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is in one picture.

    Attributes:
        boxes: float64[N, x1 y1 x2 y2].
        classes: int64[N].
        crowd: bool[N]; a crowd may be found many times, or never, at no cost.
    """

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]

    @classmethod
    def of(cls, boxes: Any, classes: Sequence[int], crowd: Sequence[bool] | None = None) -> "Truth":
        """From lists.

        Raises:
            InputError: they differ in length, or a box is not finite or inside out.
        """
        corners = np.asarray(boxes, np.float64).reshape(-1, 4)
        labels = np.asarray(classes, np.int64)
        groups = np.zeros(len(labels), np.bool_) if crowd is None else np.asarray(crowd, np.bool_)
        if not len(corners) == len(labels) == len(groups):
            raise _unusable(f"{len(corners)} boxes, {len(labels)} classes, {len(groups)} marks")
        if not np.isfinite(corners).all() or (corners[:, 2:] < corners[:, :2]).any():
            raise _unusable("a true box is not finite, or its right end lies left of its left")
        return cls(corners, labels, groups)


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """The result.

    Attributes:
        map50: mean over classes at an overlap of 0.5, 0 to 1.
        map50_95: mean over classes and ten overlaps of 0.5 to 0.95.
        per_class: the same two for each class that some picture holds.
        pictures: how many were judged.
    """

    map50: float
    map50_95: float
    per_class: Mapping[int, tuple[float, float]]
    pictures: int


@dataclass(frozen=True, slots=True, eq=False)
class _Matches:
    """One class in one picture: scores[N], and per overlap bool[10, N] what each row hit."""

    scores: NDArray[np.float64]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    wanted: int


def average_precision(pictures: Iterable[tuple[Truth, NDArray[Any]]]) -> AveragePrecision:
    """Judge rows[N, x1 y1 x2 y2 score class] of each picture against what is in it.

    Equal scores of different pictures rank in the order of the pictures.

    Raises:
        InputError: rows of another form, or pictures that hold nothing to be found.
    """
    by_class: dict[int, list[_Matches]] = {}
    count = 0
    for truth, rows in pictures:
        count += 1
        found = _checked(rows)
        for label in np.union1d(truth.classes, found[:, 5].astype(np.int64)):
            matches = _match_class(truth, found, int(label))
            by_class.setdefault(int(label), []).append(matches)
    wanted = [label for label in sorted(by_class) if sum(m.wanted for m in by_class[label])]
    if not wanted:
        raise _unusable("no picture holds anything that could be found")
    # [10, 101, classes], in this order so that the mean adds up as others add it.
    precision = np.stack([_precisions(by_class[label]) for label in wanted], axis=2)
    per_class = {
        label: (float(precision[0, :, i].mean()), float(precision[:, :, i].mean()))
        for i, label in enumerate(wanted)
    }
    return AveragePrecision(float(precision[0].mean()), float(precision.mean()), per_class, count)


def _unusable(what: str) -> InputError:
    return InputError(what, where="average precision", fix="check the annotations and detections")


def _checked(rows: NDArray[Any]) -> NDArray[np.float64]:
    found = np.asarray(rows, np.float64)
    if found.size == 0:
        return np.empty((0, _COLUMNS))
    if found.shape[1:] != (_COLUMNS,) or not np.isfinite(found).all():
        raise _unusable(f"detections of shape {list(found.shape)} are not finite rows of six")
    return found


def _match_class(truth: Truth, found: NDArray[np.float64], label: int) -> _Matches:
    rows = found[found[:, 5] == label]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")[:_MOST_PER_CLASS]]
    here = truth.classes == label
    crowd = truth.crowd[here]
    area = _areas(rows[:, :4])
    hit, in_crowd = _match(_overlaps(rows[:, :4], truth.boxes[here], crowd), crowd)
    outsized = (area < 0) | (area > _LARGEST_AREA)
    ignored = in_crowd | (outsized & ~hit)
    return _Matches(rows[:, 4], hit, ignored, int((~crowd).sum()))


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    area: NDArray[np.float64] = width * height
    return area


def _overlaps(
    found: NDArray[np.float64], true: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """[found, true]; of a crowd: the share of the found box that lies in it."""
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum(found[:, None, 2:], true[None, :, 2:])
    inner = (high - low).clip(0).prod(axis=2)
    own = _areas(found)[:, None]
    union = np.where(crowd, own, own + _areas(true) - inner)
    overlap: NDArray[np.float64] = np.zeros_like(inner)
    np.divide(inner, union, out=overlap, where=inner > 0)
    return overlap


def _match(
    overlap: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Give each row, best first, the free true box it overlaps most; else a crowd.

    Of equal overlaps the later true box is taken.

    Args:
        overlap: [rows, true boxes].
        crowd: [true boxes].

    Returns:
        Which rows hit anything, and which hit a crowd, bool[10, rows] each.
    """
    levels = np.arange(len(IOU_LEVELS))
    free = np.tile(~crowd, (len(levels), 1))
    hit, in_crowd = np.zeros((2, len(levels), len(overlap)), np.bool_)
    # Most boxes of a class touch nothing of that class enough, and cost nothing here.
    for row in np.flatnonzero((overlap >= IOU_LEVELS[0]).any(axis=1)):
        enough = overlap[row] >= IOU_LEVELS[:, None]
        candidates = enough & free
        # Reversed, as argmax returns the first of equal ones.
        backwards = np.where(candidates, overlap[row], -1)[:, ::-1]
        taken = len(crowd) - 1 - backwards.argmax(axis=1)
        alone = candidates[levels, taken]
        free[levels[alone], taken[alone]] = False
        in_crowd[:, row] = (enough & crowd).any(axis=1) & ~alone
        hit[:, row] = alone | in_crowd[:, row]
    return hit, in_crowd


def _precisions(pictures: Sequence[_Matches]) -> NDArray[np.float64]:
    """Best precision at each recall or beyond, [10, 101], of one class over all pictures."""
    scores = np.concatenate([m.scores for m in pictures])
    order = np.argsort(-scores, kind="stable")
    hit, ignored = (
        np.concatenate(parts, axis=1)[:, order]
        for parts in ([m.hit for m in pictures], [m.ignored for m in pictures])
    )
    right = np.cumsum(hit & ~ignored, axis=1, dtype=np.float64)
    wrong = np.cumsum(~hit & ~ignored, axis=1, dtype=np.float64)
    recall = right / sum(m.wanted for m in pictures)
    # The least number above 1 minus 1 keeps 0 / 0 out, and is what others add.
    precision = right / (right + wrong + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    read = np.zeros((len(IOU_LEVELS), len(RECALL_LEVELS)))
    for level in range(len(IOU_LEVELS)):
        at = np.searchsorted(recall[level], RECALL_LEVELS, side="left")
        reached = at < recall.shape[1]
        read[level, reached] = envelope[level, at[reached]]
    return read
