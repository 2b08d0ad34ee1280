import math
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from s2f_models.segmentation_loss import IGNORED, match, segmentation_loss


def drawn(
    seed: int, stages: int = 2, batch: int = 2, queries: int = 4, classes: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    class_logits = 2 * torch.randn(stages, batch, queries, classes + 1, generator=generator)
    mask_logits = 3 * torch.randn(stages, batch, queries, 4, 6, generator=generator)
    labels = torch.randint(IGNORED, classes, (batch, 8, 12), generator=generator)
    return class_logits, mask_logits, labels


def focal(logits: Tensor, target: Tensor, asked: Tensor) -> Tensor:
    """As the paper has it, gamma = 2, alpha = 0.25, mean over pixels."""
    p = logits.sigmoid()
    of_target = torch.where(target, p, 1 - p)
    alpha = torch.where(target, 0.25, 0.75)
    return (-alpha * (1 - of_target) ** 2 * of_target.log())[asked].mean()


def dice(logits: Tensor, target: Tensor, asked: Tensor) -> Tensor:
    p, g = logits.sigmoid()[asked], target[asked].float()
    return 1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)


def one_picture(
    classes: Tensor, masks: Tensor, labels: Tensor
) -> tuple[list[tuple[int, int]], list[Tensor], list[Tensor]]:
    """Query by class, found by trying all, and the focal and dice terms of the pairs."""
    small = labels[::2, ::2]
    named = sorted(set(small.flatten().tolist()) - {IGNORED})
    asked = small != IGNORED

    def cost(query: int, label: int) -> float:
        terms = (small == label, asked)
        probability = float(classes[query].softmax(0)[label])
        return float(20 * focal(masks[query], *terms) + dice(masks[query], *terms)) - probability

    best = min(
        permutations(range(len(classes)), len(named)),
        key=lambda order: sum(cost(q, c) for q, c in zip(order, named, strict=True)),
    )
    pairs = list(zip(best, named, strict=True))
    large = F.interpolate(masks[None], labels.shape, mode="bilinear", align_corners=False)[0]
    terms = [(large[q], labels == c, labels != IGNORED) for q, c in pairs]
    return pairs, [focal(*t) for t in terms], [dice(*t) for t in terms]


@pytest.mark.parametrize("seed", range(6))
def test_terms_are_those_of_the_recipe(seed: int) -> None:
    """Against every possible matching, and formulas written down another way."""
    class_logits, mask_logits, labels = drawn(seed)
    expected = dict.fromkeys(("classes", "focal", "dice"), 0.0)
    weight = torch.tensor([1, 1, 1, 0.1])
    for classes, masks in zip(class_logits, mask_logits, strict=True):
        entropies, weights, focals, dices = [], [], [], []
        for picture in range(len(labels)):
            pairs, f, d = one_picture(classes[picture], masks[picture], labels[picture])
            focals += f
            dices += d
            wanted = dict(pairs)
            for query, logits in enumerate(classes[picture]):
                label = wanted.get(query, 3)
                weights.append(weight[label])
                entropies.append(-weight[label] * logits.log_softmax(0)[label])
        expected["classes"] += float(sum(entropies) / sum(weights))
        expected["focal"] += 20 * float(sum(focals) / len(focals))
        expected["dice"] += float(sum(dices) / len(dices))
    loss = segmentation_loss(class_logits, mask_logits, labels)
    for name, value in expected.items():
        assert float(getattr(loss, name)) == pytest.approx(value, rel=1e-4), name
    assert float(loss.total) == pytest.approx(sum(expected.values()), rel=1e-4)


def test_composed_map_is_judged_by_its_shares() -> None:
    class_logits, mask_logits, labels = drawn(0, stages=1, batch=1)
    scores = class_logits[0, 0].softmax(1)[:, :3].T @ mask_logits[0, 0].flatten(1).sigmoid()
    shares = (scores / scores.sum(0)).reshape(3, 4, 6)
    small = labels[0, ::2, ::2]
    right = [-math.log(shares[c, y, x]) for (y, x), c in _asked(small)]
    loss = segmentation_loss(class_logits, mask_logits, labels, pixel_weight=2.0)
    assert float(loss.pixels) == pytest.approx(2 * sum(right) / len(right), rel=1e-2)
    without = segmentation_loss(class_logits, mask_logits, labels)
    assert float(loss.total - without.total) == pytest.approx(float(loss.pixels), rel=1e-4)


def test_rare_classes_weigh_more_in_the_composed_map() -> None:
    class_logits, mask_logits, labels = drawn(0, stages=1, batch=1)
    scores = class_logits[0, 0].softmax(1)[:, :3].T @ mask_logits[0, 0].flatten(1).sigmoid()
    shares = (scores / scores.sum(0)).reshape(3, 4, 6)
    weights = [0.25, 1.0, 5.0]
    judged = [(weights[c], math.log(shares[c, y, x])) for (y, x), c in _asked(labels[0, ::2, ::2])]
    expected = -sum(w * log for w, log in judged) / sum(w for w, _ in judged)
    given = torch.tensor(weights)
    loss = segmentation_loss(class_logits, mask_logits, labels, 1.0, class_weights=given)
    assert float(loss.pixels) == pytest.approx(expected, rel=1e-2)
    alike = segmentation_loss(class_logits, mask_logits, labels, 1.0, class_weights=torch.ones(3))
    assert torch.equal(alike.total, segmentation_loss(class_logits, mask_logits, labels, 1.0).total)


def _asked(labels: Tensor) -> list[tuple[tuple[int, int], int]]:
    rows, columns = labels.shape
    places = ((y, x) for y in range(rows) for x in range(columns))
    return [((y, x), int(labels[y, x])) for y, x in places if labels[y, x] != IGNORED]


def test_small_labels_cost_the_same_where_nothing_is_between() -> None:
    class_logits, mask_logits, labels = drawn(1)
    small = labels[:, ::2, ::2]
    here = segmentation_loss(class_logits, mask_logits, small)
    reduced = segmentation_loss(class_logits, mask_logits, labels, enlarge=False)
    assert torch.equal(here.total, reduced.total)
    assert not torch.equal(here.total, segmentation_loss(class_logits, mask_logits, labels).total)


def test_right_answers_cost_next_to_nothing_and_no_ignored_pixel_counts() -> None:
    labels = torch.tensor([[[0, 0, 1, IGNORED], [0, 0, 1, IGNORED]]])
    masks = torch.stack([torch.where(labels[0] == c, 30.0, -30.0) for c in (1, 0, 2)])
    classes = torch.full((3, 3), -30.0)
    classes[torch.arange(3), torch.tensor([1, 0, 2])] = 30.0
    for ignored in (-30.0, 30.0):
        masks[:, :, 3] = ignored
        loss = segmentation_loss(classes[None, None], masks[None, None], labels, 1.0)
        assert float(loss.total) < 1e-3
    wrong = segmentation_loss(classes.flip(0)[None, None], masks[None, None], labels, 1.0)
    assert float(wrong.total) > 1


def test_more_classes_than_queries_leaves_the_dearest_without() -> None:
    labels = torch.tensor([[[0, 1, 2]]])
    masks = torch.tensor([[30.0, -30, -30], [-30, -30, 30]]).reshape(1, 1, 2, 1, 3)
    found = match(torch.zeros(1, 1, 2, 4), masks, labels)
    assert found.query.tolist() == [0, 1]
    assert found.label.tolist() == [0, 2]


def test_picture_without_labels_has_a_loss() -> None:
    class_logits, mask_logits, labels = drawn(2)
    loss = segmentation_loss(class_logits, mask_logits, torch.full_like(labels, IGNORED), 1.0)
    assert float(loss.focal) == float(loss.dice) == float(loss.pixels) == 0
    assert loss.total.isfinite()


def test_gradient_reaches_classes_and_masks() -> None:
    class_logits, mask_logits, labels = drawn(3)
    leaves = [class_logits.requires_grad_(), mask_logits.requires_grad_()]
    torch.autograd.backward(segmentation_loss(class_logits, mask_logits, labels, 1.0).total)
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert (leaf.grad.flatten(3) != 0).any(3).all()
