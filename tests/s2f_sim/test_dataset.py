"""Folders of images, read one at a time."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s2f_deploy.errors import InputError
from s2f_sim.centre_crop import CentreCrop
from s2f_sim.dataset import Samples, evenly, sample_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("b/2.png", "a/10.PNG", "a/9.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)).save(path)
    (tmp_path / "a" / "labels.txt").write_text("no image")
    return tmp_path


def test_images_are_found_in_all_folders_in_order(folder: Path) -> None:
    files = sample_files(folder, CentreCrop.suffixes)
    found = [path.relative_to(folder).as_posix() for path in files]
    assert found == ["a/10.PNG", "a/9.jpg", "b/2.png"]


def test_samples_are_what_the_network_takes(folder: Path) -> None:
    crop = CentreCrop.imagenet(8)
    samples = Samples(sample_files(folder, crop.suffixes), crop)
    assert len(samples) == 3
    with Image.open(folder / "b" / "2.png") as picture:
        np.testing.assert_array_equal(samples[2], crop.prepare(picture))
    assert [x.shape for x in samples[1:]] == [(1, 3, 8, 8)] * 2


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no such files"):
        sample_files(tmp_path, (".png",))
    with pytest.raises(InputError, match="no such folder"):
        sample_files(tmp_path / "absent", (".png",))


@pytest.mark.parametrize(("count", "picked"), [(1, "a"), (2, "ac"), (5, "abcde"), (9, "abcde")])
def test_evenly_spaced(count: int, picked: str) -> None:
    assert "".join(p.name for p in evenly([Path(c) for c in "abcde"], count)) == picked
