import pytest
import torch

from s2f_models import create
from s2f_models.pixel_score import (
    Annotated,
    confusion,
    mean_overlap,
    measure,
    normalise,
    overlaps,
    scaled,
)
from s2f_models.segmentation import PixelClassifier
from s2f_models.segmentation_loss import IGNORED
from s2f_models.spike2former import Spike2Former


def test_overlap_is_intersection_over_union() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(IGNORED, 3, (5, 7), generator=generator)
    answer = torch.randint(0, 3, (5, 7), generator=generator)
    counts = confusion(truth, answer, 4)
    asked = truth != IGNORED
    expected = [
        float(((truth == c) & (answer == c)).sum() / (asked & ((truth == c) | (answer == c))).sum())
        for c in range(3)
    ]
    assert overlaps(counts) == pytest.approx([*expected, None])
    assert mean_overlap(counts) == pytest.approx(sum(expected) / 3)
    assert int(counts.sum()) == int(asked.sum())


def test_measured_is_what_the_deployed_network_would_answer() -> None:
    torch.manual_seed(0)
    model = create("spike2former_camvid")
    assert isinstance(model, Spike2Former)
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 32, 48))
    pictures = [
        Annotated(
            torch.randint(0, 256, (3, 40, 60)).to(torch.uint8), torch.randint(-1, 11, (40, 60))
        )
        for _ in range(3)
    ]
    counts = measure(model, pictures, (32, 48), batch=2)
    assert not model.training
    total = torch.zeros(11, 11, dtype=torch.int64)
    for picture in pictures:
        with torch.inference_mode():
            scores = PixelClassifier(model)(normalise(scaled(picture.pixels, (32, 48)))[None])
        enlarged = torch.nn.functional.interpolate(scores, (40, 60), mode="bilinear")
        total += confusion(picture.labels, enlarged[0].argmax(0), 11)
    # A batch may add in another order than one picture, and a tie may fall the other way.
    assert (counts - total).abs().sum() <= 0.01 * total.sum()
    assert counts.sum() == total.sum()


def test_picture_of_the_right_size_is_left_alone() -> None:
    pixels = torch.randint(0, 256, (3, 4, 6)).to(torch.uint8)
    assert scaled(pixels, (4, 6)) is pixels
    assert scaled(pixels, (2, 3)).shape == (3, 2, 3)
    assert set(scaled(torch.full_like(pixels, 77), (8, 5)).flatten().tolist()) == {77}
