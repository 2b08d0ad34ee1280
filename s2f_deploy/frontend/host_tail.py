"""What comes after the last synapse and only a host can compute: softmax and its kind."""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.utils import Extractor

from s2f_deploy.frontend.importer import Importer, describe
from s2f_deploy.frontend.integer_fire import DOMAIN
from s2f_deploy.frontend.views import View
from s2f_deploy.ir.graph import DType, Node, TensorType, attributes


def after_last_neuron(model: onnx.ModelProto) -> set[str]:
    """Names of tensors from which no neuron is reached."""
    feeding: set[str] = set()
    for node in reversed(model.graph.node):
        if node.domain == DOMAIN or any(name in feeding for name in node.output):
            feeding.update(node.input)
    return {name for node in model.graph.node for name in node.output} - feeding


def emit_host(importer: Importer, model: onnx.ModelProto, result: str, cut: list[str]) -> str:
    """Append the node that computes ``result`` from the tensors ``cut`` on the host.

    The subgraph travels as the node's parameter, an ONNX file in bytes. Returns the node's name.
    """
    known = onnx.shape_inference.infer_shapes(model)
    tail = Extractor(known).extract_model(cut, [result])
    shapes = {info.name: info for info in (*known.graph.value_info, *known.graph.output)}
    dims = shapes[result].type.tensor_type.shape.dim
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
        TensorType(tuple(d.dim_value or 1 for d in dims)[1:], DType.FLOAT32),
        describe(last),
        attributes(macs=_macs(tail.graph.node, tail.graph.initializer)),
    )
    return name


def _macs(nodes: Iterable[onnx.NodeProto], arrays: Iterable[onnx.TensorProto]) -> int:
    """Products with constant matrices; the only multiplications a tail of ours has had so far."""
    sizes = {a.name: numpy_helper.to_array(a).size for a in arrays}
    weighed = [node for node in nodes if node.op_type in {"Gemm", "MatMul"}]
    return sum(sizes.get(name, 0) for node in weighed for name in list(node.input)[:2])
