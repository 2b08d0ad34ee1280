from pathlib import Path

import pytest
import torch
from nmnist_archive import write_digits

from s2f_models import mnist
from s2f_models.mnist import distorted, framed, read_digits

DISTORTIONS = ("_TURN", "_SHEAR", "_ZOOM", "_SHIFT", "_BEND")


def test_digits_are_read_and_left_out(tmp_path: Path) -> None:
    digits = read_digits(write_digits(tmp_path, 9), "train")
    assert digits.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    # A bar of 20 rows and 3 columns.
    assert (digits.pictures == 255).sum((1, 2)).tolist() == [60] * 9
    assert (digits.pictures[4, :, 10:13] == 255).sum() == 60
    left = digits.without(2, 5)
    assert left.labels.tolist() == [1, 2, 6, 7, 8, 9]
    assert torch.equal(left.pictures[2], digits.pictures[5])


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write_digits(tmp_path)
    pictures = tmp_path / "train-images-idx3-ubyte"
    pictures.write_bytes(pictures.read_bytes()[:-28])
    with pytest.raises(ValueError, match="9 labels for 8"):
        read_digits(tmp_path, "train")


def test_framed_digits_lie_in_the_middle(tmp_path: Path) -> None:
    digits = read_digits(write_digits(tmp_path), "train")
    shown = framed(digits.pictures, 34)
    assert shown.shape == (9, 1, 34, 34)
    assert torch.equal(shown[:, 0, 3:31, 3:31], digits.pictures.float() / 255)
    assert shown.sum() * 255 == digits.pictures.sum()


def test_without_distortion_pictures_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DISTORTIONS:
        monkeypatch.setattr(mnist, name, 0.0)
    shown = framed(read_digits(write_digits(tmp_path), "train").pictures, 34)
    moved = distorted(shown, torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved, shown, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_each_distortion_moves_ink_and_loses_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for other in set(DISTORTIONS) - {name}:
        monkeypatch.setattr(mnist, other, 0.0)
    shown = framed(read_digits(write_digits(tmp_path), "train").pictures, 34)[3:6]
    moved = distorted(shown, torch.Generator().manual_seed(0))
    assert (moved - shown).abs().sum((1, 2, 3)).mean() > 1
    assert torch.allclose(moved.sum((1, 2, 3)), shown.sum((1, 2, 3)), rtol=0.4)
