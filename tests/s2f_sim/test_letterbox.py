from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2f_deploy.errors import InputError
from s2f_sim.letterbox import Letterbox, network_input, rect_shapes

GOLDEN = Path(__file__).parents[1] / "golden/spike_yolo_preprocess/preprocess_coco.npz"
SIDES = st.integers(1, 900)


def letterbox(kind: str, size: tuple[int, int]) -> Letterbox:
    match kind:
        case "predict":
            return Letterbox.for_prediction(size, 64)
        case "predict_square":
            return Letterbox.for_prediction(size, 64, square=True)
        case "val_square":
            return Letterbox.for_validation(size, side=64)
        case _:
            return Letterbox.for_validation(size, rect_shapes([size], 1, 64)[0], side=64)


@pytest.mark.parametrize("kind", ["predict", "predict_square", "val_square", "val_rect"])
def test_every_pixel_is_the_published_codes(kind: str) -> None:
    golden = np.load(GOLDEN)
    pixels = golden["image_bgr"][..., ::-1]
    fit = letterbox(kind, pixels.shape[:2])
    assert (fit.place(pixels).transpose(2, 0, 1)[None] == golden[kind]).all()
    given_to_the_network = network_input(fit.place(pixels))
    assert given_to_the_network.dtype == np.float32
    assert (given_to_the_network == golden[kind].astype(np.float32) / np.float32(255)).all()


def test_boxes_go_back_as_in_the_published_code() -> None:
    golden = np.load(GOLDEN)
    fit = Letterbox.for_prediction((50, 110), 64)
    assert (fit.to_picture(golden["boxes_xyxy"]) == golden["boxes_back"]).all()


@given(SIDES, SIDES, st.booleans())
def test_prediction_shapes_are_the_smallest_that_fit(height: int, width: int, square: bool) -> None:
    fit = Letterbox.for_prediction((height, width), 640, square=square)
    rows, columns = fit.shape
    if square:
        assert fit.shape == (640, 640)
    else:
        assert rows % 32 == columns % 32 == 0
        assert 0 <= rows - fit.resized[0] < 32
        assert 0 <= columns - fit.resized[1] < 32
    assert max(fit.resized) == 640
    above, left = fit.before
    below, right = fit.after
    assert 0 <= below - above <= 1
    assert 0 <= right - left <= 1


@given(SIDES, SIDES, st.sampled_from(["predict", "predict_square", "val_square", "val_rect"]))
def test_the_resized_picture_goes_back_to_the_whole_original(
    height: int, width: int, kind: str
) -> None:
    fit = letterbox(kind, (height, width))
    top, left = fit.before
    rows, columns = fit.resized
    (x1, y1, x2, y2) = fit.to_picture(np.array([[left, top, left + columns, top + rows]]))[0]
    # In prediction one scale serves both axes, and paddings are whole: two pixels of the input.
    slack = (2 / fit.gain[0], 2 / fit.gain[1]) if kind.startswith("predict") else (1e-9, 1e-9)
    assert abs(y1) <= slack[0]
    assert abs(y2 - height) <= slack[0]
    assert abs(x1) <= slack[1]
    assert abs(x2 - width) <= slack[1]


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=20), st.integers(1, 6))
def test_validation_shapes_hold_every_picture_of_their_batch(
    sizes: list[tuple[int, int]], batch: int
) -> None:
    shapes = rect_shapes(sizes, batch)
    assert len(shapes) == len(sizes)
    for size, shape in zip(sizes, shapes, strict=True):
        fit = Letterbox.for_validation(size, shape)
        assert fit.shape == shape
        assert max(fit.resized) == 640
        assert max(shape) <= 672
    # Sorted by aspect, a shape changes at most once per batch.
    assert len(set(shapes)) <= -(-len(sizes) // batch)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="for a picture of"):
        Letterbox.for_prediction((50, 110)).place(np.zeros((110, 50, 3), np.uint8))
    with pytest.raises(InputError, match="does not fit"):
        Letterbox.for_validation((50, 110), (64, 64), side=96)
