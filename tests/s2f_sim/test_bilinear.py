import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from s2f_sim.bilinear import resize

GOLDEN = Path(__file__).parents[1] / "golden/spike_yolo_preprocess"


def pattern(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    y, x, k = np.ogrid[:height, :width, :channels]
    values = x * x * 31 + y * y * 17 + x * y * 7 + k * 89 + x * 131
    return np.asarray(values % 256, np.uint8)


def test_every_byte_is_opencvs() -> None:
    cases = json.loads((GOLDEN / "opencv_resize.json").read_text())["cases"]
    assert len(cases) == 60
    for height, width, channels, new_height, new_width, digest in cases:
        picture = pattern(height, width, channels)
        picture = picture[..., 0] if channels == 1 else picture
        resized = resize(picture, new_width, new_height)
        assert resized.shape == (new_height, new_width, *picture.shape[2:])
        assert hashlib.sha256(resized.tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("size", [(13, 7), (40, 31), (1, 1)])
def test_it_is_bilinear_within_one_grey_level(size: tuple[int, int]) -> None:
    picture = pattern(20, 17, 1)[..., 0]
    height, width = size
    expected = np.empty(size)
    for row in range(height):
        for column in range(width):
            y = min(max((row + 0.5) * 20 / height - 0.5, 0), 19)
            x = min(max((column + 0.5) * 17 / width - 0.5, 0), 16)
            top, left = min(int(y), 18), min(int(x), 15)
            block = picture[top : top + 2, left : left + 2].astype(float)
            down, across = y - top, x - left
            expected[row, column] = (1 - down, down) @ block @ (1 - across, across)
    assert np.abs(resize(picture, width, height) - expected).max() < 1.001


def test_the_picture_itself_is_neither_changed_nor_handed_out() -> None:
    picture = pattern(8, 8, 3)
    before = picture.copy()
    same = resize(picture, 8, 8)
    same[:] = 0
    resize(picture, 5, 3)
    assert (picture == before).all()
