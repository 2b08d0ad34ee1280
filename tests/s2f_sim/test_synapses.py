"""The shape of a layer chooses its kernel, and nothing else does."""

from typing import Any

import numpy as np
import pytest

from s2f_deploy.ir.graph import DType, Node, TensorType, attributes
from s2f_sim.synapses import choose_kernel, largest_event_list_bytes, prepare
from s2f_sim.workers import Workers


@pytest.mark.parametrize(
    ("rows", "values", "kernel", "prepared", "event_bytes"),
    [
        # Of every list: 8 channels up to 4 times, 16 more, 4 bytes each; offsets of 8 bytes.
        ((1, 1, 8, 6), {}, "rows", "_Rows", 25 * ((8 * 4 + 16) * 4 + 2 * 8)),
        (
            (1, 1, 8, 6),
            {"stride": (2, 2)},
            "convolution",
            "_Convolution",
            5 * ((5 * 8 * 4 + 16) * 4 + 6 * 8),
        ),
        (
            (3, 3, 8, 6),
            {"padding": (1, 1, 1, 1)},
            "convolution",
            "_Convolution",
            5 * ((5 * 8 * 4 + 16) * 4 + 6 * 8),
        ),
        ((3, 3, 1, 8), {"groups": 8}, "depthwise", "_Depthwise", 5 * (176 * 4 + 6 * 8)),
        # Two outputs a channel are no depthwise kernel.
        ((3, 3, 1, 16), {"groups": 8}, "grouped", "_Grouped", 5 * ((5 * 4 + 16) * 4 + 6 * 8)),
        ((1, 1, 4, 6), {"groups": 2}, "grouped", "_Grouped", 5 * ((5 * 16 + 16) * 4 + 6 * 8)),
    ],
)
def test_convolutions(
    rows: tuple[int, ...], values: dict[str, Any], kernel: str, prepared: str, event_bytes: int
) -> None:
    chosen = {"groups": 1, "stride": (1, 1), "padding": (0, 0, 0, 0), **values}
    padding, stride = chosen["padding"], chosen["stride"]
    side = (5 + padding[0] + padding[2] - rows[0]) // stride[0] + 1
    output = TensorType((rows[3], side, side), DType.INT32)
    node = Node("conv", "event_conv2d", ("n",), (), output, "", attributes(**chosen))
    source = TensorType((8, 5, 5), DType.COUNT, 4)
    weight = np.ones(rows, np.int8)
    assert choose_kernel(node, source, weight) == kernel
    synapse = prepare(node, source, [weight, np.zeros(rows[3], np.int32)])
    assert type(synapse).__name__ == prepared
    assert largest_event_list_bytes(node, source, weight) == event_bytes
    counts = np.ones((5, 5, 8), np.uint8)
    membrane = synapse.accumulate(counts, Workers(1))
    assert membrane[1, 1, 0] == rows[0] * rows[1] * rows[2]


def test_linear_layers_add_rows() -> None:
    node = Node("head", "event_linear", ("n",), (), TensorType((6,), DType.INT32), "")
    source = TensorType((8,), DType.COUNT, 4)
    weight = np.ones((8, 6), np.int8)
    assert choose_kernel(node, source, weight) == "rows"
    assert largest_event_list_bytes(node, source, weight) == (8 * 4 + 16) * 4 + 2 * 8
    synapse = prepare(node, source, [weight, np.zeros(6, np.int32)])
    membrane = synapse.accumulate(np.full((1, 1, 8), 2, np.uint8), Workers(1))
    assert membrane[0, 0, :6].tolist() == [16] * 6
