"""Concatenation, resizing, pooling and padding as ONNX may write them, against ONNX Runtime."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from networks import NetworkBuilder
from numpy.typing import NDArray

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.passes.pipeline import lower_content
from s2f_sim import Simulator

SHAPE = (2, 5, 7)


def builder() -> NetworkBuilder:
    made = NetworkBuilder(np.random.default_rng(2), 4, 1.0, "half_even")
    made.shapes["image"] = SHAPE
    return made


def picture() -> NDArray[np.float32]:
    pixels = np.random.default_rng(0).integers(-16, 17, (1, *SHAPE))
    return (pixels / 8).astype(np.float32)


def fired(made: NetworkBuilder) -> str:
    return made.neuron(made.conv("image", 4, 3, 1, 1, 1))


def check(made: NetworkBuilder, source: str) -> None:
    """Weighed by a 1x1 convolution, equal to ONNX Runtime in every bit."""
    content = made.model(SHAPE, made.conv(source, 3, 1, 1, 0, 1))
    session = onnxruntime.InferenceSession(content)
    (want,) = session.run(None, {"image": picture()})
    run = Simulator(lower_content(content, "net"), "reference").run(picture())
    np.testing.assert_array_equal(next(iter(run.outputs.values())), want)


def pooled(made: NetworkBuilder, **attributes: Any) -> str:
    """Its shape is ONNX Runtime's."""
    source = fired(made)
    name = made.add("MaxPool", [source], (4, 0, 0), **attributes)
    session = onnxruntime.InferenceSession(made.model(SHAPE, name))
    made.shapes[name] = session.run(None, {"image": picture()})[0].shape[1:]
    return name


@pytest.mark.parametrize("kernel", [[2, 3], [3, 3], [1, 2]])
@pytest.mark.parametrize("stride", [[1, 1], [2, 3], [3, 2]])
@pytest.mark.parametrize("ceil", [0, 1])
def test_pools_round_their_sides_as_onnx_does(kernel: Any, stride: Any, ceil: int) -> None:
    made = builder()
    pads = [kernel[0] - 1, 0, 0, kernel[1] - 1]
    check(made, pooled(made, kernel_shape=kernel, strides=stride, pads=pads, ceil_mode=ceil))


def resized(
    made: NetworkBuilder, how: tuple[str, str], factors: list[float], *, sizes: bool
) -> str:
    source = fired(made)
    channels, *plane = made.shapes[source]
    sides = [int(side * factor) for side, factor in zip(plane, factors, strict=True)]
    name = f"w{len(made.arrays)}"
    if sizes:
        made.arrays[name] = np.array([1, channels, *sides], np.int64)
    else:
        made.arrays[name] = np.array([1, 1, *factors], np.float32)
    return made.add(
        "Resize",
        [source, "", "", name] if sizes else [source, "", name],
        (channels, *sides),
        mode="nearest",
        coordinate_transformation_mode=how[0],
        nearest_mode=how[1],
    )


@pytest.mark.parametrize("factors", [[2, 2], [3, 1], [4, 5]])
@pytest.mark.parametrize("sizes", [False, True])
@pytest.mark.parametrize(
    "how",
    [
        ("asymmetric", "floor"),
        ("half_pixel", "round_prefer_floor"),
        ("pytorch_half_pixel", "round_prefer_floor"),
    ],
)
def test_whole_factors_copy_blocks(how: tuple[str, str], factors: Any, *, sizes: bool) -> None:
    made = builder()
    check(made, resized(made, how, factors, sizes=sizes))


@pytest.mark.parametrize(
    ("how", "factors"),
    [(("asymmetric", "floor"), [1.5, 2]), (("align_corners", "floor"), [2, 2])],
)
def test_other_factors_and_rules_are_refused(how: tuple[str, str], factors: list[float]) -> None:
    made = builder()
    source = resized(made, how, factors, sizes=False)
    with pytest.raises(UnsupportedPatternError, match="Resize"):
        import_onnx(made.model(SHAPE, made.conv(made.neuron(source), 3, 1, 1, 0, 1)), "net")


def test_padding_by_anything_but_zero_is_refused() -> None:
    made = builder()
    source = fired(made)
    one = f"w{len(made.arrays)}"
    made.arrays[one] = np.array(1.0, np.float32)
    pads = made.ints([0, 0, 1, 1, 0, 0, 1, 1])
    padded = made.add("Pad", [source, pads, one], (4, 7, 9))
    with pytest.raises(UnsupportedPatternError, match="not zero"):
        import_onnx(made.model(SHAPE, made.conv(padded, 3, 1, 1, 0, 1)), "net")


def test_positions_that_are_joined_before_weights_are_refused() -> None:
    made = builder()
    source = fired(made)
    joined = made.add("Concat", [source, source], (4, 10, 7), axis=2)
    with pytest.raises(UnsupportedPatternError, match="concatenates positions"):
        import_onnx(made.model(SHAPE, made.conv(joined, 3, 1, 1, 0, 1)), "net")


def test_spikes_and_currents_are_not_joined() -> None:
    made = builder()
    source = fired(made)
    joined = made.concat(source, made.conv(source, 2, 1, 1, 0, 1))
    with pytest.raises(UnsupportedPatternError, match="without weights between"):
        lower_content(made.model(SHAPE, made.conv(joined, 3, 1, 1, 0, 1)), "net")


def test_a_neuron_that_cannot_be_read_is_never_left_to_the_host() -> None:
    made = builder()
    made.levels = 0
    with pytest.raises(UnsupportedPatternError, match="D = 0"):
        import_onnx(made.model(SHAPE, made.neuron(made.conv("image", 4, 3, 1, 1, 1))), "net")
