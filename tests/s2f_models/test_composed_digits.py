import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nmnist_archive import write_digits
from PIL import Image
from segmentation_files import write_photographs

from s2f_models.composed_digits import (
    SIDE,
    _background,
    _drawn,
    _places,
    compose,
    held_out,
    main,
    read_photographs,
)
from s2f_models.mnist import Digits, read_digits


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def digits(tmp_path: Path) -> Digits:
    return read_digits(write_digits(tmp_path / "mnist"), "train")


@pytest.fixture
def photographs(tmp_path: Path) -> list[torch.Tensor]:
    return read_photographs(write_photographs(tmp_path / "photographs"))


def test_scenes_depend_on_the_generator_alone(
    digits: Digits, photographs: list[torch.Tensor]
) -> None:
    first, again, other = (compose(digits, photographs, 3, seeded(s)) for s in (0, 0, 1))
    assert first.pictures.shape == (3, 3, SIDE, SIDE)
    assert first.pictures.dtype == torch.uint8
    assert torch.equal(first.pictures, again.pictures)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.labels, other.labels)


def test_labels_are_of_digits_and_where_the_picture_differs_from_the_photograph(
    digits: Digits,
) -> None:
    grey = [torch.full((3, 100, 100), 128, dtype=torch.uint8)]
    scenes = compose(digits, grey, 16, seeded())
    found = set(scenes.labels.flatten().tolist())
    assert found <= {0, *(digits.labels + 1).tolist()}
    assert len(found) > 5
    for pixels, labels in zip(scenes.pictures.float(), scenes.labels, strict=True):
        background = pixels[:, labels == 0]
        plain = background.median(1).values[:, None]
        assert 0.03 < (labels > 0).float().mean() < 0.6
        # What is not labelled is the photograph, with its grain.
        assert (background - plain).abs().mean() < 8
        assert (pixels[:, labels > 0] - plain).abs().amax(0).mean() > 30


@pytest.mark.parametrize(("size", "x", "y"), [(20.0, 40.0, 90.0), (56.0, 64.0, 64.0)])
def test_digit_is_drawn_where_and_as_large_as_asked(size: float, x: float, y: float) -> None:
    picture = torch.zeros(1, 28, 28, dtype=torch.uint8)
    # All of the square that MNIST draws in.
    picture[:, 4:24, 4:24] = 255
    ink = _drawn(picture, torch.tensor([size]), torch.tensor([[x, y]]), seeded())[0]
    rows, columns = torch.nonzero(ink > ink.max() / 2, as_tuple=True)
    assert float(rows.float().mean()) + 0.5 == pytest.approx(y, abs=1)
    assert float(columns.float().mean()) + 0.5 == pytest.approx(x, abs=1)
    # A turn leaves the area.
    assert len(rows) == pytest.approx(size**2, rel=0.1)
    assert 0.75 <= float(ink.max()) <= 1


def test_places_are_inside_and_keep_apart_where_there_is_room() -> None:
    sizes = torch.full((200, 5), 24.0)
    centres = _places(sizes, seeded())
    assert centres.min() >= 12
    assert centres.max() <= SIDE - 12
    gaps = (centres[:, :, None] - centres[:, None]).norm(dim=3) + 1e3 * torch.eye(5)
    apart = (gaps.amin((1, 2)) > 24).float().mean()
    assert apart > 0.9


def test_background_is_a_part_of_one_photograph(photographs: list[torch.Tensor]) -> None:
    parts = torch.stack([_background(photographs, seeded(i)) for i in range(8)])
    assert parts.shape == (8, 3, SIDE, SIDE)
    assert (parts.amax((2, 3)) - parts.amin((2, 3))).max() < 1e-3
    assert len(set(parts.mean((1, 2, 3)).round().tolist())) > 4


def test_command_writes_what_held_out_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist = write_digits(tmp_path / "mnist", split="t10k")
    photographs = write_photographs(tmp_path / "photographs")
    arguments = f"--mnist {mnist} --photographs {photographs} --out {tmp_path / 'out'} --count 2"
    monkeypatch.setattr(sys, "argv", ["composed_digits", *arguments.split(), "--seed", "3"])
    main()
    scenes = held_out(mnist, photographs, 2, seed=3)
    for i in range(2):
        with Image.open(tmp_path / "out" / "test" / f"0000{i}.png") as picture:
            stored = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        assert torch.equal(stored, scenes.pictures[i])
        with Image.open(tmp_path / "out" / "testannot" / f"0000{i}.png") as annotation:
            assert annotation.mode == "L"
            assert torch.equal(torch.from_numpy(np.array(annotation)).long(), scenes.labels[i])
    assert not torch.equal(scenes.labels, held_out(mnist, photographs, 2, seed=4).labels)


def test_folder_without_photographs_or_with_too_small_ones_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no photographs"):
        read_photographs(tmp_path)
    Image.new("RGB", (200, 40)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match=r"small\.png is smaller"):
        read_photographs(tmp_path)
