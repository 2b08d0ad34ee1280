from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_sim.suppression import PREDICTION, VALIDATION, Suppression, suppress

GOLDEN = Path(__file__).parents[1] / "golden/spike_yolo_preprocess"


@pytest.mark.parametrize("name", ["gen1_n_96x64_T2", "coco_n_64x64_T4"])
def test_the_published_detections_come_out_of_the_published_predictions(name: str) -> None:
    golden = np.load(GOLDEN / f"{name}_boxes.npz")
    for index, prediction in enumerate(golden["pred"]):
        assert (suppress(prediction, PREDICTION) == golden[f"det_{index}"]).all()
    every_fourth = golden["pred"][0][:, ::4]
    assert (suppress(every_fourth, VALIDATION) == golden["det_val"]).all()


def overlap(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return inner / union if union else 0.0


def by_hand(prediction: NDArray[np.float64], rule: Suppression) -> list[list[float]]:
    """Class by class and pair by pair, without offsets."""
    rows = []
    for column in prediction.T.tolist():
        (x, y, w, h), scores = column[:4], column[4:]
        box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        labels = range(len(scores)) if rule.multi_label else [scores.index(max(scores))]
        rows += [[*box, scores[c], c] for c in labels if scores[c] > rule.confidence]
    rows.sort(key=lambda row: -row[4])
    kept: list[list[float]] = []
    for row in rows:
        if all(row[5] != k[5] or overlap(row, k) <= rule.iou for k in kept):
            kept.append(row)
    return kept[: rule.most]


RULES = st.builds(
    Suppression,
    confidence=st.sampled_from([0.0, 0.25, 0.5]),
    iou=st.sampled_from([0.0, 0.5, 0.75, 1.0]),
    most=st.sampled_from([1, 5, 300]),
    multi_label=st.booleans(),
)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 40), RULES)
def test_suppression_is_greedy_per_class_even_among_ties(
    seed: int, classes: int, anchors: int, rule: Suppression
) -> None:
    # Multiples of powers of two: overlaps of exactly the threshold and equal scores do occur, and
    # class offsets round nothing.
    rng = np.random.default_rng(seed)
    boxes = rng.integers(0, 16, (4, anchors)) * 4.0
    prediction = np.vstack((boxes, rng.integers(0, 9, (classes, anchors)) / 8))
    rows = suppress(prediction, rule)
    assert rows.tolist() == by_hand(prediction, rule)


def test_an_overlap_of_exactly_the_threshold_stays() -> None:
    # 3 of 4 parts in common.
    prediction = np.array([[2, 1.5], [2, 2], [4, 3], [4, 4], [0.9, 0.8]])
    assert len(suppress(prediction, Suppression(iou=0.75))) == 2
    assert len(suppress(prediction, Suppression(iou=0.74))) == 1


def test_only_the_best_thirty_thousand_are_looked_at() -> None:
    # A pile of equal boxes and four apart from it, of which the weaker two are beyond the cut.
    pile = np.tile([[8.0], [8], [4], [4], [0.9]], 29_998)
    apart = np.array([[100, 200, 300, 400.0], [8] * 4, [4] * 4, [4] * 4, [0.3, 0.6, 0.5, 0.4]])
    rows = suppress(np.hstack((apart, pile)))
    assert rows[:, 4].tolist() == [0.9, 0.6, 0.5]


def test_what_is_no_number_is_not_found() -> None:
    prediction = np.array([[5.0, 5, 5], [5, 5, 5], [2, 2, 2], [2, 2, 2], [np.nan, 0.9, 0.2]])
    assert suppress(prediction).shape == (1, 6)
    assert suppress(prediction[:, :0]).shape == (0, 6)


def test_single_precision_rounds_class_offsets_as_the_published_code_does() -> None:
    # At 79 * 7680 a float32 has steps of 1/16, so that boxes 1/64 apart become the same.
    near = np.zeros((84, 2), np.float32)
    near[:4] = np.array([[8, 8 + 1 / 64], [8, 8], [0.125, 0.125], [8, 8]])
    near[83] = 0.9, 0.8
    rule = Suppression(iou=0.9)
    assert len(suppress(near, rule)) == 1
    assert len(suppress(near.astype(np.float64), rule)) == 2


def test_a_batch_is_refused() -> None:
    with pytest.raises(InputError, match="anchors"):
        suppress(np.zeros((1, 6, 3)))
    with pytest.raises(InputError, match="anchors"):
        suppress(np.zeros((4, 3)))
