"""ONNX to the FLOAT graph."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import external_data_helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from s2f_deploy.errors import ArtefactError, S2FError, UnsupportedPatternError
from s2f_deploy.frontend.host_tail import after_last_neuron, emit_host, enlarged_for_host
from s2f_deploy.frontend.importer import Importer, unsupported
from s2f_deploy.frontend.integer_fire import DOMAIN
from s2f_deploy.frontend.readers import READERS, read_neuron
from s2f_deploy.frontend.sampling_readers import SAMPLINGS
from s2f_deploy.frontend.views import Constant, View
from s2f_deploy.ir.graph import DType, Graph, Level, Node, TensorType
from s2f_deploy.ir.verify import verify

FRAMED_RANK = 5  # batch, timesteps, channels, rows, columns


def read_model(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an ONNX file.

    Raises:
        ArtefactError: there is no such file.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ArtefactError(
            f"cannot read the ONNX file: {error.strerror}",
            where=os.fspath(path),
            fix="give the path of a file that export_onnx wrote",
        ) from error


def import_onnx(content: bytes, name: str) -> Graph:
    """The FLOAT graph of an ONNX file's content; the content becomes its reference.

    Raises:
        ArtefactError: the bytes are no valid ONNX model.
        UnsupportedPatternError: an operator has no place in a spiking network.
    """
    try:
        return _imported(_parse(content, name), content, name)
    except S2FError:
        raise
    # A file made to be hostile picks the exception, so there is no list of them to catch.
    except Exception as error:
        raise ArtefactError(
            f"this ONNX model contradicts itself: {type(error).__name__}: {str(error)[:200]!r}",
            where=name,
            fix="export it again with s2f_deploy.export_onnx",
        ) from error


def _imported(model: onnx.ModelProto, content: bytes, name: str) -> Graph:
    importer = Importer()
    for tensor in model.graph.initializer:
        importer.values[tensor.name] = Constant(numpy_helper.to_array(tensor))
    _read_inputs(importer, model)
    tail = after_last_neuron(model)
    deferred: set[str] = set()
    enlarged = enlarged_for_host(model, tail, READERS)
    for node in model.graph.node:
        last = node.output[0] in enlarged and not importer.reads_spikes(node)
        if last or any(source in deferred for source in node.input):
            deferred.update(node.output)
            continue
        known = all(isinstance(importer.values.get(i), Constant) for i in node.input if i)
        if known and node.domain != DOMAIN:
            _fold_constant(importer, node)
            continue
        own = SAMPLINGS.get(node.op_type, read_neuron)
        reader = own if node.domain == DOMAIN else READERS.get(node.op_type)
        try:
            if reader is None or (node.domain not in ("", DOMAIN)):
                raise unsupported(
                    node,
                    "has no place in an event-driven graph",
                    "replace it by convolutions, linear layers, attention, sums and neurons, "
                    "or move it behind the last neuron",
                )
            importer.values[node.output[0]] = reader(importer, node)
        except UnsupportedPatternError:
            # Spikes are read on the chip or not at all; the host takes real values.
            ours = node.domain == DOMAIN
            if ours or not set(node.output) <= tail or importer.reads_spikes(node):
                raise
            deferred.update(node.output)
    _read_outputs(importer, model, deferred)
    graph = Graph(name, Level.FLOAT, _reached(importer.nodes), importer.params, content)
    graph = graph.rebuilt(graph.nodes)
    verify(graph)
    return graph


def _parse(content: bytes, name: str) -> onnx.ModelProto:
    try:
        model = onnx.load_from_string(content)
        _refuse_other_files(model, name)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        said, *_ = str(error).strip()[:200].split("\n")
        raise ArtefactError(
            f"this is no valid ONNX model: {said}",
            where=name,
            fix="export it again with s2f_deploy.export_onnx",
        ) from error
    return model


def _refuse_other_files(model: onnx.ModelProto, name: str) -> None:
    """A model may name any file of this machine as the place of its weights."""
    for tensor in _tensors(model):
        if external_data_helper.uses_external_data(tensor):
            raise ArtefactError(
                f"the weights {tensor.name} lie in another file, which is never opened",
                where=name,
                fix="save the model with its weights inside",
            )


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All there are: arrays of the network, and constants of its nodes and functions."""
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, onnx.GraphProto):
            yield from inner.initializer
        for attribute in (made for node in inner.node for made in node.attribute):
            yield from (attribute.t, *attribute.tensors)
            waiting.extend((*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs))


def _read_inputs(importer: Importer, model: onnx.ModelProto) -> None:
    arrays = {tensor.name for tensor in model.graph.initializer}
    for info in model.graph.input:
        if info.name in arrays:
            continue
        kind = info.type.tensor_type
        shape = tuple(d.dim_value or 1 for d in kind.shape.dim)
        if kind.elem_type != onnx.TensorProto.FLOAT or shape[0] != 1:
            raise UnsupportedPatternError(
                f"input {info.name} is not one float32 sample but "
                f"{onnx.TensorProto.DataType.Name(kind.elem_type).lower()}{list(shape)}",
                where=info.name,
                fix="export model.float() with a batch of one",
            )
        framed = len(shape) == FRAMED_RANK
        output = TensorType(shape[2:] if framed else shape[1:], DType.FLOAT32)
        output = replace(output, steps=shape[1] if framed else 1)
        importer.nodes[info.name] = Node(info.name, "input", (), (), output, info.name)
        importer.values[info.name] = View(info.name, shape)


def _fold_constant(importer: Importer, node: onnx.NodeProto) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for name in filter(None, node.input):
        value = importer.values[name]
        assert isinstance(value, Constant)
        arrays[name] = value.array
    try:
        results = ReferenceEvaluator(node).run(None, arrays)
    except Exception as error:
        raise unsupported(node, f"cannot be computed: {error}", "simplify the model") from error
    for name, array in zip(node.output, results, strict=True):
        importer.values[name] = Constant(np.asarray(array))


def _read_outputs(importer: Importer, model: onnx.ModelProto, deferred: set[str]) -> None:
    for info in model.graph.output:
        if info.name in deferred:
            cut = _boundary(importer, model, info.name, deferred)
            source = emit_host(importer, model, info.name, cut)
        else:
            value = importer.values[info.name]
            if not isinstance(value, View):
                raise UnsupportedPatternError(
                    f"output {info.name} is not computed from the input",
                    where=info.name,
                    fix="return what the network computes",
                )
            source = importer.laid_out(model.graph.node[-1], value)
        if info.name in importer.nodes:
            raise S2FError(
                f"the output {info.name} has the name of a node",
                where=info.name,
                fix="rename the output",
            )
        made = Node(info.name, "output", (source,), (), importer.nodes[source].output, info.name)
        importer.nodes[info.name] = made


def _boundary(
    importer: Importer, model: onnx.ModelProto, result: str, deferred: set[str]
) -> list[str]:
    """Computed tensors that the deferred nodes leading to ``result`` read."""
    wanted, cut = {result}, []
    for node in reversed(model.graph.node):
        if not wanted & set(node.output):
            continue
        for name in filter(None, node.input):
            if name in deferred:
                wanted.add(name)
            elif isinstance(importer.values[name], View) and name not in cut:
                cut.append(name)
    return cut


def _reached(nodes: dict[str, Node]) -> tuple[Node, ...]:
    """The nodes that some output depends on, and all inputs."""
    wanted = {node.name for node in nodes.values() if node.op in ("output", "input")}
    for node in reversed(list(nodes.values())):
        if node.name in wanted:
            wanted.update(node.inputs)
    return tuple(node for node in nodes.values() if node.name in wanted)
