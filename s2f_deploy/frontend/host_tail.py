"""What comes after the last synapse and only a host can compute: softmax and its kind."""

import math
from collections.abc import Container, Mapping

import numpy as np
import onnx
from onnx.utils import Extractor

from s2f_deploy.frontend.importer import Importer, attribute, describe
from s2f_deploy.frontend.integer_fire import DOMAIN
from s2f_deploy.frontend.sampling_readers import interpolates
from s2f_deploy.frontend.views import View
from s2f_deploy.ir.graph import DType, Node, TensorType, attributes

# Of a place between pixels.
PIXELS_AROUND = 4


def after_last_neuron(model: onnx.ModelProto) -> set[str]:
    """Names of tensors from which no neuron is reached."""
    feeding: set[str] = set()
    for node in reversed(model.graph.node):
        if node.domain == DOMAIN or any(name in feeding for name in node.output):
            feeding.update(node.input)
    return {name for node in model.graph.node for name in node.output} - feeding


def enlarged_for_host(model: onnx.ModelProto, tail: set[str], known: Container[str]) -> set[str]:
    """Names of interpolated tensors of the tail that only the host reads.

    Shifts and additions would do it, too, but of four times as many numbers to hand over.

    Args:
        model: the network.
        tail: as ``after_last_neuron`` gives it.
        known: operators that a spiking network has a place for.
    """
    read: dict[str, list[str]] = {info.name: ["output"] for info in model.graph.output}
    for node in model.graph.node:
        for name in node.input:
            read.setdefault(name, []).append(node.op_type)
    return {
        node.output[0]
        for node in model.graph.node
        if interpolates(node) and node.output[0] in tail
        if not any(op == "output" or op in known for op in read.get(node.output[0], ["output"]))
    }


def emit_host(importer: Importer, model: onnx.ModelProto, result: str, cut: list[str]) -> str:
    """Append the node that computes ``result`` from the tensors ``cut`` on the host.

    The subgraph travels as the node's parameter, an ONNX file in bytes. Returns the node's name.
    """
    known = onnx.shape_inference.infer_shapes(model)
    tail = Extractor(known).extract_model(cut, [result])
    shapes = _shapes(known)
    last = next(n for n in reversed(model.graph.node) if result in n.output)
    views = [importer.values[name] for name in cut]
    sources = tuple(importer.laid_out(last, v) for v in views if isinstance(v, View))
    name = importer.name_for(last)
    program = np.frombuffer(tail.SerializeToString(), np.uint8)
    importer.params[f"{name}.onnx"] = program
    importer.nodes[name] = Node(
        name,
        "host",
        sources,
        (f"{name}.onnx",),
        TensorType(shapes[result][1:], DType.FLOAT32),
        describe(last),
        attributes(macs=_macs(tail.graph, shapes)),
    )
    return name


def _macs(tail: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Products of convolutions and matrices, and four for every pixel between pixels."""
    total = 0
    for node in tail.node:
        if node.op_type in {"Conv", "Gemm", "MatMul"}:
            terms = shapes[node.input[1]][1:] if node.op_type == "Conv" else _inner(node, shapes)
            total += math.prod(shapes[node.output[0]]) * math.prod(terms)
        elif interpolates(node):
            total += PIXELS_AROUND * math.prod(shapes[node.output[0]])
    return total


def _inner(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The axis that a matrix product sums over."""
    transposed = attribute(node, "transA", 0)
    return shapes[node.input[0]][-2:-1] if transposed else shapes[node.input[0]][-1:]


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Of every tensor whose shape is known."""
    arrays = {array.name: tuple(array.dims) for array in model.graph.initializer}
    infos = (*model.graph.value_info, *model.graph.output, *model.graph.input)
    return arrays | {
        info.name: tuple(d.dim_value or 1 for d in info.type.tensor_type.shape.dim)
        for info in infos
    }
