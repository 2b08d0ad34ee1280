"""Wiring as plain ONNX operators: copies and rearrangements, in whatever precision arrives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from s2f_deploy.backend.onnx_writer import Array, OnnxWriter
from s2f_deploy.ir.graph import Node, TensorType


@dataclass(frozen=True, eq=False, slots=True)
class Wiring:
    """A node of ``EMITTED``, the type of what it reads first, and its arrays."""

    node: Node
    source: TensorType
    arrays: list[Array]

    def emit(self, out: OnnxWriter) -> None:
        """Append it."""
        EMITTED[self.node.op](out, self)


def _rewire(out: OnnxWriter, wiring: Wiring) -> None:
    node = wiring.node
    wide, name = node.inputs[0] in out.wide, node.name
    flat = out.constant(f"{name}.flat", [0, -1], np.int64)
    index = out.constant(f"{name}.index", wiring.arrays[0].reshape(-1), np.int32)
    dims = out.constant(f"{name}.shape", [0, *node.output.shape], np.int64)
    line = out.op("Reshape", [node.inputs[0], flat], f"{name}.line", wide=wide)
    wired = out.op("Gather", [line, index], f"{name}.gathered", wide=wide, axis=1)
    out.op("Reshape", [wired, dims], name, wide=wide)


def _repeat(out: OnnxWriter, wiring: Wiring) -> None:
    node = wiring.node
    wide, ones = node.inputs[0] in out.wide, [1] * len(node.output.shape)
    times = out.constant(f"{node.name}.times", [node["steps"], *ones], np.int64)
    out.op("Expand", [node.inputs[0], times], node.name, wide=wide)


def _max_pool(out: OnnxWriter, wiring: Wiring) -> None:
    node = wiring.node
    out.op(
        "MaxPool",
        list(node.inputs),
        node.name,
        wide=node.inputs[0] in out.wide,
        kernel_shape=node["kernel"],
        strides=node["stride"],
        pads=node["padding"],
    )


def _concat(out: OnnxWriter, wiring: Wiring) -> None:
    node = wiring.node
    wide = any(name in out.wide for name in node.inputs)
    parts = [out.cast(name, wide=wide) for name in node.inputs]
    out.op("Concat", parts, node.name, wide=wide, axis=1)


def _upsample(out: OnnxWriter, wiring: Wiring) -> None:
    """Copies along two axes of their own: no runtime resizes in double precision."""
    node = wiring.node
    name, (rows, columns), wide = node.name, node["factors"], node.inputs[0] in out.wide
    channels, height, width = wiring.source.shape
    apart = out.constant(f"{name}.apart", [0, channels, height, 1, width, 1], np.int64)
    copies = out.constant(f"{name}.copies", [1, 1, 1, rows, 1, columns], np.int64)
    dims = out.constant(f"{name}.shape", [0, *node.output.shape], np.int64)
    single = out.op("Reshape", [node.inputs[0], apart], f"{name}.single", wide=wide)
    copied = out.op("Expand", [single, copies], f"{name}.copied", wide=wide)
    out.op("Reshape", [copied, dims], name, wide=wide)


def _reshape(out: OnnxWriter, wiring: Wiring) -> None:
    node = wiring.node
    dims = out.constant(f"{node.name}.shape", [0, *node.output.shape], np.int64)
    wide = node.inputs[0] in out.wide
    out.op("Reshape", [node.inputs[0], dims], node.name, wide=wide)


EMITTED: Mapping[str, Callable[[OnnxWriter, Wiring], None]] = {
    "rewire": _rewire,
    "repeat": _repeat,
    "max_pool": _max_pool,
    "concat": _concat,
    "upsample": _upsample,
    "reshape": _reshape,
}
