import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from s2f_models.boxes import complete_iou, corners, iou, suppress

sides = st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda s: s[0] < s[1])
boxes = st.tuples(sides, sides).map(lambda s: (s[0][0], s[1][0], s[0][1], s[1][1]))
Box = tuple[int, int, int, int]


def cells(box: Box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


def tensor(*listed: Box) -> Tensor:
    return torch.tensor(listed, dtype=torch.float64)


@given(boxes, boxes)
def test_overlap_counts_cells(a: Box, b: Box) -> None:
    expected = len(cells(a) & cells(b)) / len(cells(a) | cells(b))
    assert iou(tensor(a), tensor(b)).item() == pytest.approx(expected, abs=1e-6)


@given(boxes, boxes)
def test_complete_overlap_is_the_published_formula(a: Box, b: Box) -> None:
    (ax, ay, au, av), (bx, by, bu, bv) = a, b
    overlap = len(cells(a) & cells(b)) / len(cells(a) | cells(b))
    distance = ((ax + au) / 2 - (bx + bu) / 2) ** 2 + ((ay + av) / 2 - (by + bv) / 2) ** 2
    diagonal = (max(au, bu) - min(ax, bx)) ** 2 + (max(av, bv) - min(ay, by)) ** 2
    angles = math.atan((au - ax) / (av - ay)) - math.atan((bu - bx) / (bv - by))
    v = 4 / math.pi**2 * angles**2
    alpha = v / (1 - overlap + v) if v else 0.0
    found = complete_iou(tensor(a), tensor(b)).item()
    assert found == pytest.approx(overlap - distance / diagonal - alpha * v, abs=1e-5)


def test_distant_boxes_are_pulled_together() -> None:
    far = torch.tensor([50.0, 50.0, 60.0, 60.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(complete_iou(far, torch.tensor([0.0, 0, 10, 10])), far)
    assert (gradient[:2] < 0).all()


@given(st.lists(boxes, max_size=12), st.integers(0, 12))
def test_suppression_is_the_naive_one(listed: list[Box], most: int) -> None:
    count = len(listed)
    scores = torch.randperm(count, generator=torch.Generator().manual_seed(count)).double()
    values = tensor(*listed).reshape(-1, 4)
    kept: list[int] = []
    for i in sorted(range(count), key=lambda i: -scores[i]):
        if len(kept) < most and all(iou(values[i], values[k]) <= 0.5 for k in kept):
            kept.append(i)
    assert suppress(values, scores, 0.5, most).tolist() == kept


def test_corners_surround_the_centre() -> None:
    assert corners(torch.tensor([[5.0, 6.0, 2.0, 8.0]])).tolist() == [[4, 2, 6, 10]]
