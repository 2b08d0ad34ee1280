import torch

from s2f_models.segmentation import class_scores, segment


def test_score_is_the_masks_weighted_by_the_certainty_of_their_class() -> None:
    class_logits = torch.tensor([[[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]]])
    mask_logits = torch.randn(1, 2, 4, 6)
    scores = class_scores(class_logits, mask_logits, (4, 6))
    certain = class_logits.softmax(-1)
    for c in (0, 1):
        wanted = sum(certain[0, q, c] * mask_logits[0, q].sigmoid() for q in (0, 1))
        torch.testing.assert_close(scores[0, c], wanted)
    assert scores.shape == (1, 2, 4, 6)


def test_masks_grow_before_they_are_squashed() -> None:
    """Bilinear between logits, not between probabilities."""
    mask_logits = torch.tensor([[[[-8.0, 8.0]]]])
    scores = class_scores(torch.tensor([[[30.0, 0.0]]]), mask_logits, (1, 4))
    torch.testing.assert_close(
        scores.flatten(), torch.tensor([-8.0, -4.0, 4.0, 8.0]).sigmoid(), atol=1e-6, rtol=0
    )


def test_padding_and_dead_classes_win_nowhere() -> None:
    scores = torch.zeros(1, 3, 4, 4)
    scores[:, 0, :2, :2] = 1
    scores[:, 1, :, 3] = 5
    scores[:, 2] = 2
    assert (segment(scores, (2, 2), (4, 4), live_classes=2) == 0).all()
    assert (segment(scores, (2, 2), (4, 4)) == 2).all()
    drawn = segment(scores, (4, 4), (4, 8), live_classes=2)
    assert drawn.shape == (1, 4, 8)
    assert (drawn[0, :, -2:] == 1).all()
