"""Pixels become the integers that `digitise` defines, where the first layer looks for them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2f_deploy.ir.graph import DType, Node, TensorType, attributes
from s2f_deploy.ops import OPS
from s2f_sim.encoding import Encoding
from s2f_sim.workers import Workers


@pytest.mark.parametrize("threads", [1, 2])
@given(
    plane=st.tuples(st.integers(1, 20), st.integers(1, 40)),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    channels=st.integers(1, 4),
    largest=st.sampled_from([3, 127, 40_000]),
    exponent=st.integers(-7, 2),
    seed=st.integers(0, 2**16),
)
def test_integers_are_those_of_the_definition(
    threads: int,
    plane: tuple[int, int],
    padding: tuple[int, int, int, int],
    channels: int,
    largest: int,
    exponent: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    # Halves, and what lies beyond every integer.
    image: Any = rng.integers(-3 * largest, 3 * largest, (channels, *plane)) * 2.0 ** (exponent - 1)
    image = image.astype(np.float32)
    image[0, 0, 0] = 3e38
    values = attributes(exponent=exponent, low=-largest - 1, high=largest)
    output = TensorType(image.shape, DType.INT32)
    pixels = Node("pixels", "digitise", ("image",), (), output, "", values)
    top, left, bottom, right = padding
    sums = TensorType((1, top + plane[0] + bottom, left + plane[1] + right), DType.INT32)
    geometry = attributes(groups=1, stride=(1, 1), padding=padding)
    node = Node("conv", "conv2d", ("pixels",), (), sums, "", geometry)
    weight, bias = np.ones((1, channels, 1, 1), np.int8), np.zeros(1, np.int32)
    encoding, workers = Encoding(node, [weight, bias], pixels), Workers(threads)
    for shown in (image, -image):
        # As in a simulation: a pixel that overflows is clipped like any other.
        with np.errstate(over="ignore"):
            laid_out = encoding.digitise(shown.transpose(1, 2, 0), workers)
        expected = OPS["digitise"].dense(pixels, [shown], [])
        around = np.pad(expected, ((0, 0), (top, bottom), (left, right + 1)))
        np.testing.assert_array_equal(laid_out, around.transpose(1, 2, 0))
