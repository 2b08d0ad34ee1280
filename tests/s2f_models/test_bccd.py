from pathlib import Path

import pytest
import torch
from bccd_archive import write_archive
from torch import Tensor

from s2f_models import bccd
from s2f_models.bccd import Picture, augmented, batches, fitted, read_archive


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    return read_archive(write_archive(tmp_path / "bccd.zip"), "trainval")


def red_box(pixels: Tensor) -> list[int]:
    """Corners of what is more red than green."""
    red = pixels[0].int() - pixels[1].int() > 60
    rows, columns = red.any(1).nonzero()[:, 0], red.any(0).nonzero()[:, 0]
    corners = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return [int(corner) for corner in corners]


def test_archive_is_read(pictures: list[Picture]) -> None:
    assert len(pictures) == 3
    assert pictures[1].pixels.shape == (3, 480, 640)
    # The second annotation has no width.
    assert pictures[1].boxes.tolist() == [[140, 120, 260, 200]]
    assert pictures[1].labels.tolist() == [bccd.CLASSES.index("WBC")]


def test_fitted_picture_is_whole_and_centred(pictures: list[Picture]) -> None:
    small = fitted(pictures[0])
    assert small.pixels.shape == (3, 256, 320)
    assert small.boxes.tolist() == [[50, 68, 110, 108]]
    assert (small.pixels[:, :8] == 114).all()
    assert red_box(small.pixels) == pytest.approx([50, 68, 110, 108], abs=1)


def test_boxes_move_with_what_they_surround(pictures: list[Picture]) -> None:
    generator = torch.Generator().manual_seed(0)
    places = set()
    for _ in range(30):
        shown = augmented(pictures[0], generator)
        if len(shown.boxes):
            (box,) = shown.boxes.tolist()
            assert red_box(shown.pixels) == pytest.approx(box, abs=2)
            places.add(tuple(round(corner) for corner in box))
    assert len(places) > 20


def test_hardly_visible_object_is_forgotten(pictures: list[Picture]) -> None:
    left_over = bccd._placed(pictures[0], 0.5, -95.0, 0.0)
    assert len(left_over.boxes) == 0
    assert bccd._placed(pictures[0], 0.5, -80.0, 0.0).boxes.tolist() == [[0, 60, 30, 100]]


def test_batches_are_padded_and_repeatable(pictures: list[Picture]) -> None:
    empty = Picture(pictures[0].pixels, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    first, second = (
        list(batches([*pictures, empty], 2, torch.Generator().manual_seed(3))) for _ in range(2)
    )
    assert len(first) == 2
    for (images, objects), (again, _) in zip(first, second, strict=True):
        assert images.shape == (2, 3, 256, 320)
        assert images.max() <= 1
        assert objects.boxes.shape == (2, 1, 4)
        assert torch.equal(images, again)
    assert sum(int(objects.real.sum()) for _, objects in first) <= 3
