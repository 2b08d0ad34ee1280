"""The assignment against one written with loops."""

import pytest
import torch
from torch import Tensor

from s2f_models.boxes import iou
from s2f_models.task_aligned_assigner import CANDIDATES, Assignment, Objects, assign

SIDE, CLASSES = 6, 3


def scene(seed: int) -> tuple[Tensor, Tensor, Tensor, Objects]:
    """Anchors on a grid, predictions near them, and up to three overlapping objects."""
    source = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    points = torch.stack((x.flatten(), y.flatten()), 1).double() + 0.5
    spread = torch.rand(2, len(points), 4, generator=source, dtype=torch.float64) * 3
    boxes = torch.cat((points - spread[..., :2], points + spread[..., 2:]), -1)
    scores = torch.rand(2, len(points), CLASSES, generator=source, dtype=torch.float64)
    low = torch.rand(2, 3, 2, generator=source, dtype=torch.float64) * 3
    sides = 1 + torch.rand(2, 3, 2, generator=source, dtype=torch.float64) * 3
    labels = torch.randint(0, CLASSES, (2, 3), generator=source)
    real = torch.tensor([[True, True, True], [True, seed % 2 == 0, False]])
    return points, boxes, scores, Objects(labels, torch.cat((low, low + sides), -1), real)


def naive(
    points: Tensor, boxes: Tensor, scores: Tensor, objects: Objects, image: int
) -> dict[int, tuple[int, float]]:
    """Object and wanted score of every anchor that has one."""
    metrics: dict[tuple[int, int], tuple[float, float]] = {}
    for m in range(3):
        if not objects.real[image, m]:
            continue
        box, label = objects.boxes[image, m], objects.labels[image, m]
        found = []
        for a, (x, y) in enumerate(points.tolist()):
            if not (box[0] < x < box[2] and box[1] < y < box[3]):
                continue
            overlap = iou(box, boxes[image, a]).item()
            metric = scores[image, a, label].item() ** 0.5 * overlap**6
            found.append((metric, overlap, a))
        for metric, overlap, a in sorted(found, reverse=True)[:CANDIDATES]:
            metrics[m, a] = (metric, overlap)
    owners = {}
    for a in {a for _, a in metrics}:
        owners[a] = max((metrics[m, a][1], -m, m) for m in range(3) if (m, a) in metrics)[2]
    wanted = {}
    for a, m in owners.items():
        mine = [metrics[m, other] for other, owner in owners.items() if owner == m]
        best, overlap = max(metric for metric, _ in mine), max(overlap for _, overlap in mine)
        wanted[a] = (m, metrics[m, a][0] / max(best, 1e-300) * overlap)
    return wanted


@pytest.mark.parametrize("seed", range(6))
def test_assignment_is_the_naive_one(seed: int) -> None:
    points, boxes, scores, objects = scene(seed)
    given: Assignment = assign(points, boxes, scores, objects)
    for image in range(2):
        expected = naive(points, boxes, scores, objects, image)
        useful = {a: w for a, w in expected.items() if w[1] > 0}
        # Candidates without overlap teach nothing, whichever of them were taken.
        found = set(given.chosen[image].nonzero()[:, 0].tolist())
        found = {a for a in found if given.scores[image, a].sum() > 0}
        assert found == set(useful)
        for a, (m, score) in useful.items():
            label = objects.labels[image, m]
            assert torch.equal(given.boxes[image, a], objects.boxes[image, m])
            assert given.scores[image, a, label].item() == pytest.approx(score, rel=1e-6)
            assert given.scores[image, a].count_nonzero() == 1


def test_padding_teaches_nothing() -> None:
    points, boxes, scores, objects = scene(0)
    nothing = Objects(objects.labels, objects.boxes, torch.zeros_like(objects.real))
    given = assign(points, boxes, scores, nothing)
    assert not given.chosen.any()
    assert not given.scores.any()


def test_object_that_no_box_fits_is_learned_as_far_as_one_overlaps_it() -> None:
    points = torch.tensor([[5.0, 5.0], [50.0, 50.0]])
    boxes = torch.tensor([[[0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 100.0, 100.0]]])
    small = Objects(
        torch.tensor([[1]]), torch.tensor([[[4.0, 4.0, 6.0, 6.0]]]), torch.tensor([[True]])
    )
    given = assign(points, boxes, torch.full((1, 2, CLASSES), 1e-4), small)
    assert given.chosen.tolist() == [[True, False]]
    assert given.scores[0, 0].tolist() == pytest.approx([0, 4 / 10_000, 0], rel=1e-3)
