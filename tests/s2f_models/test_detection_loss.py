import pytest
import torch
from torch import Tensor

from s2f_models.detection_head import BINS
from s2f_models.detection_loss import detection_loss
from s2f_models.task_aligned_assigner import Objects

BOX = (16.0, 8.0, 48.0, 56.0)


def objects(*labels: int) -> Objects:
    """The same box once for each class, in one image."""
    count = max(len(labels), 1)
    padded = torch.zeros(1, count, dtype=torch.int64)
    padded[0, : len(labels)] = torch.tensor(labels)
    return Objects(padded, torch.tensor([[BOX] * count]), torch.full((1, count), bool(labels)))


def perfect_maps(label: int) -> list[Tensor]:
    """Maps of a 64x64 image in which every anchor inside the box says where its sides are."""
    maps = []
    for stride in (8, 16, 32):
        side = 64 // stride
        one = torch.full((1, 64 + 3, side, side), -20.0)
        for y in range(side):
            for x in range(side):
                cx, cy = (x + 0.5) * stride, (y + 0.5) * stride
                sides = (cx - BOX[0], cy - BOX[1], BOX[2] - cx, BOX[3] - cy)
                if min(sides) <= 0:
                    continue
                one[0, 64 + label, y, x] = 20
                for q, distance in enumerate(sides):
                    cells = distance / stride
                    low = int(cells)
                    # The expectation of two bins next to each other is in between.
                    one[0, BINS * q + low, y, x] = torch.tensor(1 - cells + low).log()
                    one[0, BINS * q + low + 1, y, x] = torch.tensor(cells - low).log()
        maps.append(one.nan_to_num(neginf=-20.0))
    return maps


def test_perfect_maps_leave_the_entropy_of_the_distances() -> None:
    loss = detection_loss(perfect_maps(1), objects(1))
    assert loss.box.item() == pytest.approx(0, abs=1e-4)
    # Anchors between two bins: at most one bit each, log 2 times the gain.
    assert 0 < loss.distance.item() < 1.5 * 0.7
    # Anchors that are not among the chosen ten score as well.
    assert detection_loss(perfect_maps(2), objects(1)).score > loss.score


def test_wrong_box_costs_more() -> None:
    maps = perfect_maps(0)
    good = detection_loss(maps, objects(0))
    for shifted in maps:
        shifted[:, :BINS] = shifted[:, :BINS].roll(1, 1)
    bad = detection_loss(maps, objects(0))
    assert bad.box > good.box + 0.1
    assert bad.distance > good.distance + 0.1
    assert bad.total.item() == pytest.approx((bad.box + bad.score + bad.distance).item())


def test_image_without_objects_teaches_scores_alone() -> None:
    maps = [torch.zeros(1, 67, h, h, requires_grad=True) for h in (8, 4, 2)]
    loss = detection_loss(maps, objects())
    assert (loss.box.item(), loss.distance.item()) == (0, 0)
    gradients = torch.autograd.grad(loss.total, maps)
    assert all((g[:, 64:] > 0).all() and not g[:, :64].any() for g in gradients)


def test_descent_finds_the_box() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(1, 67, h, h, requires_grad=True) for h in (8, 4, 2)]
    optimizer = torch.optim.Adam(maps, 0.2)
    for _ in range(120):
        loss = detection_loss(maps, objects(1)).total
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert detection_loss(maps, objects(1)).box < 0.5


def test_weights_count_for_anchors_with_objects_alone() -> None:
    maps = perfect_maps(1)
    for one in maps:
        one[:, 64:] = 0
    plain, weighed = (
        detection_loss(maps, objects(1), w) for w in (None, torch.tensor([9.0, 5.0, 9.0]))
    )
    # Undecided scores cost log 2 whatever is wanted, so the sums can be told from the losses.
    each, entries = 0.5 * torch.tensor(2.0).log(), 3 * (64 + 16 + 4)
    total = each * entries / plain.score
    heavier = ((weighed.score * 5 * total / each - entries) / 4).item()
    assert heavier == pytest.approx(10, abs=1e-3)
    # One class alone: its boxes count as before.
    assert weighed.box.item() == pytest.approx(plain.box.item(), rel=1e-5)
    assert weighed.distance.item() == pytest.approx(plain.distance.item(), rel=1e-5)
