import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_sim.box_decoding import decode

GOLDEN = Path(__file__).parents[1] / "golden/spike_yolo_preprocess/gen1_n_96x64_T2_boxes.npz"


def heads(seed: int, dtype: type[np.floating]) -> list[NDArray[np.floating]]:
    rng = np.random.default_rng(seed)
    sizes = ((4, 6), (2, 3), (1, 2))
    return [rng.normal(0, 3, (2, 64 + 5, *size)).astype(dtype) for size in sizes]


def test_the_published_prediction_comes_out_of_the_published_maps() -> None:
    golden = np.load(GOLDEN)
    decoded = decode([golden["p3"], golden["p4"], golden["p5"]])
    assert decoded.dtype == np.float64
    assert np.abs(decoded - golden["pred"]).max() < 1e-9


def test_each_number_by_hand() -> None:
    maps = heads(1, np.float64)
    decoded, anchor = decode(maps), 0
    for level, stride in zip(maps, (8, 16, 32), strict=True):
        for y in range(level.shape[2]):
            for x in range(level.shape[3]):
                column = level[1, :, y, x]
                sides = []
                for side in range(4):
                    powers = [math.exp(v) for v in column[16 * side : 16 * side + 16]]
                    sides.append(sum(j * p for j, p in enumerate(powers)) / sum(powers))
                x1, y1 = x + 0.5 - sides[0], y + 0.5 - sides[1]
                x2, y2 = x + 0.5 + sides[2], y + 0.5 + sides[3]
                box = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
                scores = [1 / (1 + math.exp(-v)) for v in column[64:]]
                expected = [stride * v for v in box] + scores
                assert decoded[1, :, anchor] == pytest.approx(expected, abs=1e-9)
                anchor += 1
    assert decoded.shape == (2, 9, anchor)


def test_single_precision_stays_single_and_nothing_overflows() -> None:
    maps = [m * np.float32(1e4) for m in heads(2, np.float32)]
    decoded = decode(maps)
    assert decoded.dtype == np.float32
    assert np.isfinite(decoded).all()


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ([], "no head of 3 levels"),
        (heads(0, np.float32)[:2], "no head of 3 levels"),
        ([m[0] for m in heads(0, np.float32)], "no head of 3 levels"),
        ([m[:, :64] for m in heads(0, np.float32)], "no class"),
        ([*heads(0, np.float32)[:2], np.zeros((1, 69, 1, 1), np.float32)], "differ"),
    ],
)
def test_other_maps_are_refused(maps: list[NDArray[np.floating]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        decode(maps)
