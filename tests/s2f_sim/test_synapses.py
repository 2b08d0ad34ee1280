"""The shape of a layer chooses its layout, and no layout changes a sum."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType, Node, TensorType, attributes
from s2f_deploy.ops import OPS
from s2f_sim.kernels.finish import only_sums
from s2f_sim.kernels.masked_depthwise import mask_room
from s2f_sim.layout import (
    Layout,
    choose_layout,
    largest_event_list_bytes,
    masking_of,
    narrow_sums,
)
from s2f_sim.synapses import Synapse, prepare
from s2f_sim.workers import Workers

SOURCE = TensorType((8, 5, 5), DType.COUNT, 4)
WHOLE: dict[str, Any] = {"groups": 1, "stride": (1, 1), "padding": (0, 0, 0, 0)}


def convolution(rows: tuple[int, ...], **values: Any) -> Node:
    chosen = WHOLE | values
    padding, stride = chosen["padding"], chosen["stride"]
    side = (5 + padding[0] + padding[2] - rows[0]) // stride[0] + 1
    output = TensorType((rows[3], side, side), DType.INT32)
    return Node("conv", "event_conv2d", ("n",), (), output, "", attributes(**chosen))


def accumulate(synapse: Synapse, counts: NDArray[Any], node: Node) -> NDArray[Any]:
    sums = np.empty((node.output.positions, node.output.channels), np.int32)
    synapse.accumulate(counts, only_sums(synapse.bias, sums), Workers(1))
    return sums.T.reshape(node.output.shape)


@pytest.mark.parametrize(
    ("rows", "values", "layout", "event_bytes"),
    [
        # Of every list: 8 channels up to 4 times, 64 more, 4 bytes each; offsets of 8 bytes.
        ((1, 1, 8, 6), {}, Layout("rows"), (25 * 8 * 4 + 64) * 4 + 26 * 8),
        (
            (1, 1, 8, 6),
            {"stride": (2, 2)},
            Layout("convolution"),
            2 * (5 * 8 * 4 + 64) * 4 + 2 * 6 * 8,
        ),
        (
            (3, 3, 8, 6),
            {"padding": (1, 1, 1, 1)},
            Layout("convolution", together=4),
            2 * 3 * (5 * 8 * 4 + 64) * 4 + (3 + 1) * 6 * 8,
        ),
        ((3, 3, 8, 200), {}, Layout("convolution"), 6 * (5 * 8 * 4 + 64) * 4 + 4 * 6 * 8),
        ((3, 3, 1, 8), {"groups": 8}, Layout("depthwise"), 9 * (16 * 8 + 8)),
        # Two outputs a channel are no depthwise kernel.
        ((3, 3, 1, 16), {"groups": 8}, Layout("grouped"), 6 * (5 * 4 + 64) * 4 + 4 * 6 * 8),
        ((1, 1, 4, 6), {"groups": 2}, Layout("grouped"), 2 * (5 * 16 + 64) * 4 + 2 * 6 * 8),
    ],
)
def test_convolutions(
    rows: tuple[int, ...], values: dict[str, Any], layout: Layout, event_bytes: int
) -> None:
    node = convolution(rows, **values)
    rng = np.random.default_rng(0)
    weight = rng.integers(-128, 128, rows).astype(np.int8)
    bias = rng.integers(-99, 99, rows[3]).astype(np.int32)
    assert choose_layout(node, SOURCE, weight) == layout
    assert largest_event_list_bytes(node, SOURCE, weight, layout) == event_bytes
    counts = rng.integers(0, 5, (5, 5, 8)).astype(np.uint8)
    found = accumulate(prepare(node, SOURCE, [weight, bias], layout), counts, node)
    dense = OPS[node.op].dense(node, [counts.transpose(2, 0, 1)], [weight, bias])
    np.testing.assert_array_equal(found, dense)


@pytest.mark.parametrize(
    "layout",
    [
        Layout("convolution"),
        Layout("convolution", together=2),
        Layout("convolution", cache_bytes=0),
        Layout("convolution", together=8, cache_bytes=1 << 30),
        Layout("grouped"),
    ],
)
def test_every_layout_gives_the_same_sums(layout: Layout) -> None:
    rng = np.random.default_rng(1)
    for rows in ((1, 1, 8, 70), (3, 3, 8, 70)):
        node = convolution(rows)
        weight = rng.integers(-128, 128, rows).astype(np.int8)
        arrays: list[NDArray[Any]] = [weight, rng.integers(-99, 99, rows[3]).astype(np.int32)]
        counts = rng.integers(0, 5, (5, 5, 8)).astype(np.uint8)
        found = accumulate(prepare(node, SOURCE, arrays, layout), counts, node)
        dense = OPS[node.op].dense(node, [counts.transpose(2, 0, 1)], arrays)
        np.testing.assert_array_equal(found, dense)


@pytest.mark.parametrize("kernel", ["depthwise", "grouped"])
@pytest.mark.parametrize("levels", [1, 4, 8])
def test_every_depthwise_layout_gives_the_same_sums(
    kernel: Literal["depthwise", "grouped"], levels: int
) -> None:
    rng = np.random.default_rng(levels)
    source = TensorType((70, 9, 6), DType.COUNT, levels)
    node = replace(
        convolution((3, 5, 1, 70), groups=70, stride=(2, 1), padding=(1, 2, 0, 3)),
        output=TensorType((70, 4, 7), DType.INT32),
    )
    weight = rng.integers(-128, 128, (3, 5, 1, 70)).astype(np.int8)
    arrays: list[NDArray[Any]] = [weight, rng.integers(-99, 99, 70).astype(np.int32)]
    counts = rng.integers(0, levels + 1, (9, 6, 70)).astype(np.uint8)
    found = accumulate(prepare(node, source, arrays, Layout(kernel)), counts, node)
    dense = OPS[node.op].dense(node, [counts.transpose(2, 0, 1)], arrays)
    np.testing.assert_array_equal(found, dense)


@pytest.mark.parametrize("levels", [1, 4, 8, 255])
@pytest.mark.parametrize(("channels", "kind"), [(8, np.int8), (70, np.int8), (48, np.float32)])
def test_memory_of_masks(levels: int, channels: int, kind: type) -> None:
    """Masks and lists of them, and how many are listed."""
    source = TensorType((channels, 9, 40), DType.COUNT, levels)
    node = replace(
        convolution((3, 5, 1, channels), groups=channels, padding=(1, 2, 1, 3)),
        output=TensorType((channels, 9, 41), DType.INT32),
    )
    rows: NDArray[Any] = np.ones((3, 5, 1, channels), kind)
    masking, bits = masking_of(node, source, rows), levels.bit_length()
    wide = np.dtype(np.int32)
    masks, listed, found, *_ = mask_room(masking, channels, 3, bits, wide, wide)
    nbytes = sum(many * np.dtype(one).itemsize for many, one in (masks, listed, found))
    assert largest_event_list_bytes(node, source, rows, Layout("depthwise")) == nbytes


def test_linear_layers_add_rows() -> None:
    node = Node("head", "event_linear", ("n",), (), TensorType((6,), DType.INT32), "")
    source = TensorType((8,), DType.COUNT, 4)
    weight = np.ones((8, 6), np.int8)
    layout = choose_layout(node, source, weight)
    assert layout == Layout("rows")
    assert largest_event_list_bytes(node, source, weight, layout) == (8 * 4 + 64) * 4 + 2 * 8
    synapse = prepare(node, source, [weight, np.zeros(6, np.int32)], layout)
    counts = np.full((1, 1, 8), 2, np.uint8)
    assert accumulate(synapse, counts, node).tolist() == [16] * 6


def test_lanes_are_as_narrow_as_their_burst_allows() -> None:
    dense, depthwise = Layout("convolution"), Layout("depthwise")
    weight, single = (np.full((3, 3, inputs, 8), -128, np.int8) for inputs in (8, 1))
    wide, real = weight.astype(np.int16), weight.astype(np.float32)
    cases: list[tuple[NDArray[Any], Layout]]
    cases = [(weight, dense), (single, depthwise), (single, dense), (wide, dense), (real, dense)]
    found = [narrow_sums(SOURCE, *case) for case in cases]
    kinds = [(narrow.dtype.name, narrow.burst) for narrow in found]
    assert kinds == [
        # 288 spikes can come at once, and 255 times -128 fit 16 bits.
        ("int16", 255),
        ("int16", None),
        ("int16", None),
        ("int32", None),
        ("float32", None),
    ]
