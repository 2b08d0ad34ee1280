from pathlib import Path

import torch
from nmnist_archive import write_digits

from s2f_models.event_camera import EventCamera
from s2f_models.mnist import framed, read_digits


def test_a_camera_that_fires_where_there_is_ink_is_learned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    pictures = framed(read_digits(write_digits(tmp_path, 4), "train").pictures, 34)
    # Brighter pixels fire often in the first time step, darker ones in the second.
    rate = torch.zeros(len(pictures), 2, 2, 34, 34)
    rate[:, 0, 1] = rate[:, 1, 0] = 3 * pictures[:, 0]
    counts = torch.poisson(rate, generator=generator)
    camera = EventCamera(2)
    before = camera.fit(pictures, counts, 1, generator)
    assert camera.fit(pictures, counts, 15, generator) < before / 2
    expected = camera(pictures).detach()
    assert expected.shape == rate.shape
    ink = pictures[:, 0] == 1
    bright, dark = expected[:, 0, 1], expected[:, 0, 0]
    assert bright[ink].mean() > 5 * bright[~ink].mean()
    assert bright[ink].mean() > 5 * dark[ink].mean()


def test_recordings_are_integers_that_a_seed_repeats(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pictures = framed(read_digits(write_digits(tmp_path), "train").pictures, 34)
    camera = EventCamera(3)
    first, second, other = (
        camera.record(pictures, 2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first.shape == (9, 3, 2, 34, 34)
    assert set(first.flatten().tolist()) == {0.0, 1.0, 2.0}
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert not first.requires_grad
