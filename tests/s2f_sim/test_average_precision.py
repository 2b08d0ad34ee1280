import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_sim.average_precision import Truth, average_precision

Picture = tuple[Truth, NDArray[np.float64]]
NOTHING = np.empty((0, 6))


def draw(seed: int, count: int, classes: int, grid: int) -> list[Picture]:
    """Random pictures; coordinates are multiples of 1/8, so that no sum is rounded.

    A coarse ``grid`` gives equal boxes, equal scores and overlaps of exactly a level.
    """
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        true = rng.integers(0, grid, (rng.integers(0, 8), 4)) * (64 // grid)
        boxes = np.hstack((true[:, :2], true[:, :2] + true[:, 2:] + 8)).astype(float)
        labels = rng.integers(0, classes, len(boxes))
        truth = Truth.of(boxes, labels.tolist(), (rng.random(len(boxes)) < 0.2).tolist())
        moved = boxes.repeat(3, axis=0)
        moved += rng.integers(-1, 2, moved.shape) * (64 // grid) / 8
        scores = rng.integers(1, grid, len(moved)) / grid
        named = np.where(rng.random(len(moved)) < 0.8, labels.repeat(3), 0)
        rows = np.column_stack((moved, scores, named))
        pictures.append((truth, rows[rng.permutation(len(rows))]))
    return pictures


def sides(box: NDArray[np.float64]) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def others(pictures: Sequence[Picture]) -> tuple[float, float] | None:
    """mAP50 and mAP50-95 of the same by pycocotools, None where it finds no truth."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (truth, rows) in enumerate(pictures, start=1):
        for box, label, crowd in zip(truth.boxes, truth.classes, truth.crowd, strict=True):
            bbox = sides(box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "iscrowd": int(crowd),
                }
            )
        results += [
            {
                "image_id": image,
                "category_id": int(row[5]),
                "bbox": sides(row[:4]),
                "score": float(row[4]),
            }
            for row in rows
        ]
    coco, cocoeval = (
        pytest.importorskip(f"pycocotools.{name}", reason="pycocotools is not installed")
        for name in ("coco", "cocoeval")
    )
    with contextlib.redirect_stdout(io.StringIO()):
        reference = coco.COCO()
        reference.dataset = {
            "images": [{"id": i + 1} for i in range(len(pictures))],
            "categories": [{"id": i} for i in range(100)],
            "annotations": annotations,
        }
        reference.createIndex()
        judge = cocoeval.COCOeval(reference, reference.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return None if judge.stats[0] < 0 else (float(judge.stats[1]), float(judge.stats[0]))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.integers(1, 4),
    st.sampled_from([4, 16, 64]),
)
def test_any_detections_are_judged_as_pycocotools_judges_them(
    seed: int, count: int, classes: int, grid: int
) -> None:
    pictures = draw(seed, count, classes, grid)
    if not any(len(rows) for _, rows in pictures):
        return
    expected = others(pictures)
    if expected is None:
        with pytest.raises(InputError, match="could be found"):
            average_precision(pictures)
        return
    result = average_precision(pictures)
    assert (result.map50, result.map50_95) == pytest.approx(expected, abs=1e-12)


def test_only_the_best_hundred_of_a_class_count() -> None:
    rng = np.random.default_rng(0)
    corners = np.hstack((c := rng.integers(0, 4000, (150, 2)) * 8.0, c + 64))
    truth = Truth.of(corners, [3] * 150)
    rows = np.column_stack((corners, rng.permutation(150) / 150, np.full(150, 3)))
    expected = others([(truth, rows)])
    result = average_precision([(truth, rows)])
    assert (result.map50, result.map50_95) == pytest.approx(expected, abs=1e-12)
    assert result.map50 < 0.68


def test_worked_by_hand() -> None:
    truth = Truth.of([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 0])
    right, wrong = [0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.8, 0]
    # Overlap 0.8 with the second.
    near = [20, 20, 30, 28, 0.7, 0]
    result = average_precision([(truth, np.array([right, wrong, near]))])
    # Precision 1 up to a recall of 1/2, then 2/3: 51 and 50 of 101 points.
    full, half = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert result.map50 == pytest.approx(full)
    assert result.map50_95 == pytest.approx((7 * full + 3 * half) / 10)
    assert result.per_class == {0: (result.map50, result.map50_95)}
    assert result.pictures == 1


def test_nothing_missed_is_one_and_nothing_found_is_zero() -> None:
    truth = Truth.of([[0, 0, 10, 10], [5, 5, 9, 9]], [0, 7])
    rows = np.array([[0, 0, 10, 10, 0.5, 0], [5, 5, 9, 9, 0.4, 7], [0, 0, 9, 9, 0.9, 5]])
    assert average_precision(
        [(truth, rows), (Truth.of([], []), NOTHING)]
    ).map50_95 == pytest.approx(1)
    assert average_precision([(truth, NOTHING)]).map50 == 0


def test_a_crowd_costs_nothing() -> None:
    truth = Truth.of([[0, 0, 10, 10], [100, 100, 300, 300]], [0, 0], [False, True])
    inside = [[100 + i, 100, 110 + i, 110, 0.95, 0] for i in range(5)]
    rows = np.array([*inside, [0, 0, 10, 10, 0.5, 0]], float)
    assert average_precision([(truth, rows)]).map50_95 == pytest.approx(1)


def test_what_cannot_be_judged_is_refused() -> None:
    truth = Truth.of([[0, 0, 10, 10]], [0])
    with pytest.raises(InputError, match="rows of six"):
        average_precision([(truth, np.zeros((2, 5)))])
    with pytest.raises(InputError, match="finite"):
        average_precision([(truth, np.full((2, 6), np.nan))])
    with pytest.raises(InputError, match="could be found"):
        average_precision([(Truth.of([], []), NOTHING)])
    with pytest.raises(InputError, match="finite, or"):
        Truth.of([[0, 0, -1, 1]], [0])
    with pytest.raises(InputError, match="1 boxes, 2 classes"):
        Truth.of([[0, 0, 1, 1]], [0, 1])
