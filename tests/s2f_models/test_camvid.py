from pathlib import Path

import pytest
import torch
from segmentation_files import write_streets

from s2f_models import camvid
from s2f_models.camvid import augmented, batches, read_archive
from s2f_models.pixel_score import Annotated
from s2f_models.segmentation_loss import IGNORED


@pytest.fixture
def streets(tmp_path: Path) -> list[Annotated]:
    return read_archive(write_streets(tmp_path / "streets.zip"), "train")


def test_split_is_read_and_unknown_pixels_are_ignored(streets: list[Annotated]) -> None:
    assert len(streets) == 3
    for i, street in enumerate(streets):
        assert street.pixels.shape == (3, 24, 32)
        assert street.pixels.dtype == torch.uint8
        assert set(street.labels.flatten().tolist()) == {IGNORED, 0, 3, 8}
        assert (street.labels == 8).sum() == 6 * (12 - i)
        assert (street.labels[:, :2] == IGNORED).all()


def test_augmented_labels_move_with_their_pixels(streets: list[Annotated]) -> None:
    """The pictures' red tells the class, whatever the light."""
    mirrored = set()
    for seed in range(12):
        shown = augmented(streets[0], torch.Generator().manual_seed(seed))
        assert shown.pixels.shape == (3, camvid.HEIGHT, camvid.WIDTH)
        assert shown.labels.shape == (camvid.HEIGHT, camvid.WIDTH)
        red = [
            shown.pixels[0][shown.labels == c].float().mean()
            for c in (0, 3, 8)
            if c in shown.labels
        ]
        assert red == sorted(red)
        columns = torch.nonzero(shown.labels == 8)[:, 1].float()
        sky = torch.nonzero(shown.labels == 0)[:, 1].float()
        if len(columns) and len(sky):
            mirrored.add(bool(columns.mean() < sky.mean()))
    assert mirrored == {False, True}


def test_nothing_is_asked_beyond_the_picture(streets: list[Annotated]) -> None:
    kept = [augmented(streets[0], torch.Generator().manual_seed(s)).labels for s in range(12)]
    shares = [float((labels != IGNORED).float().mean()) for labels in kept]
    assert min(shares) < 0.8
    assert max(shares) > 0.9


def test_epoch_shows_every_picture_once_and_leaves_the_incomplete_batch(
    streets: list[Annotated], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camvid, "augmented", lambda picture, _: picture)
    one = batches(streets, 1, torch.Generator().manual_seed(0))
    counts = sorted(int((labels == 8).sum()) for _, labels in one)
    assert counts == [60, 66, 72]
    (pair,) = batches(streets, 2, torch.Generator().manual_seed(0))
    assert [tuple(part.shape) for part in pair] == [(2, 3, 24, 32), (2, 24, 32)]
