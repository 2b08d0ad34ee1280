from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from s2f_deploy import S2FError
from s2f_sim.centre_crop import CentreCrop, resized_plane

PLAIN = CentreCrop(4, 4, "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_an_image_of_the_right_size_is_only_scaled_and_normalised() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    x = replace(PLAIN, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1)).prepare(Image.fromarray(pixels))
    want = (pixels / 255 - 0.5) / np.array([0.25, 0.5, 1])
    assert x.shape == (1, 3, 4, 4)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[0], want.transpose(2, 0, 1), atol=1e-6)


def test_the_short_side_is_resized_and_the_centre_cropped() -> None:
    ramp = np.repeat(np.arange(0, 200, 20).astype(np.uint8)[None, :, None], 4, axis=0)
    image = Image.fromarray(np.repeat(ramp, 3, axis=2))
    x = PLAIN.prepare(image)
    np.testing.assert_allclose(x[0, 0, 0] * 255, [60, 80, 100, 120], atol=1e-4)


@pytest.mark.parametrize(
    ("size", "short", "want"),
    [((640, 427), 232, (347, 232)), ((427, 640), 232, (232, 347)), ((10, 10), 3, (3, 3))],
)
def test_sides_round_as_torchvision_does(
    size: tuple[int, int], short: int, want: tuple[int, int]
) -> None:
    assert resized_plane(*size, short) == want


def test_imagenet_resizes_more_than_it_crops_up_to_224_only() -> None:
    sides = {side: CentreCrop.imagenet(side).resize for side in (64, 224, 384)}
    assert sides == {64: 66, 224: 232, 384: 384}


def test_the_seen_part_lies_in_the_middle() -> None:
    image = Image.new("RGB", (80, 40))
    assert PLAIN.seen(image) == (20.0, 0.0, 60.0, 40.0)


def test_it_survives_being_written_down() -> None:
    made = CentreCrop.imagenet(224)
    assert CentreCrop.from_dict(made.to_dict(), where="x") == made


@pytest.mark.parametrize(
    "change",
    [
        {"resize": 0},
        {"resize": "232"},
        {"crop": 10**9},
        {"interpolation": "psychic"},
        {"mean": [0.1, 0.2]},
        {"std": [0.0, 1.0, 1.0]},
        {"std": [float("nan"), 1.0, 1.0]},
        {"std": [1e-320, 1.0, 1.0]},
        {"mean": [10**400, 0, 0]},
    ],
)
def test_impossible_settings_are_one_error_that_says_where(change: dict[str, object]) -> None:
    entries = CentreCrop.imagenet(224).to_dict() | change
    with pytest.raises(S2FError, match=r"net\.s2f"):
        CentreCrop.from_dict(entries, where="net.s2f")
