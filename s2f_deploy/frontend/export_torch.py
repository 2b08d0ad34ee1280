"""PyTorch to ONNX. The only module of the compiler that imports torch."""

import ast
import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnxscript.optimizer
import torch
from onnxscript import ir

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.frontend.deformable_sample import EXACT, sampling_function, sampling_operator
from s2f_deploy.frontend.integer_fire import DOMAIN, OPSET, neuron_function, operator

SCOPES = "pkg.torch.onnx.name_scopes"


def export_onnx(
    model: torch.nn.Module,
    input_shape: tuple[int, ...],
    path: str | os.PathLike[str],
    output: str = "logits",
) -> None:
    """Write ``model`` as an ONNX file that any runtime executes; replaced in one step.

    The file keeps batch norms as they are (it is the reference), names every node after its
    module, and holds one batch of ``input_shape``, ``(1, channels, height, width)``. Its input is
    called ``image``, its output ``output``; a model of several outputs has their names in
    ``output_names``.

    Raises:
        UnsupportedPatternError: PyTorch cannot trace the model.
    """
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    example = torch.zeros(input_shape, dtype=dtype)
    training = model.training
    model.eval()
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (example,),
                input_names=["image"],
                output_names=list(getattr(model, "output_names", (output,))),
                dynamo=True,
                opset_version=OPSET,
                optimize=False,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise UnsupportedPatternError(
            f"PyTorch cannot export the model: {str(error).splitlines()[0]}",
            where=type(model).__name__,
            fix="make the forward pass traceable: no branches on tensor values",
        ) from error
    finally:
        model.train(training)
    assert program is not None
    onnxscript.optimizer.fold_constants(program.model)
    onnxscript.optimizer.remove_unused_nodes(program.model)
    proto = ir.to_proto(program.model)
    _name_after_modules(proto)
    _define_operators(proto)
    _save(proto, Path(path))


def _define_operators(proto: onnx.ModelProto) -> None:
    """Give every neuron and sampling the operator of its rounding rule, the model their bodies."""
    bodies: dict[str, onnx.FunctionProto] = {}
    for node in proto.graph.node:
        if node.domain == DOMAIN:
            given = {a.name: a for a in node.attribute}
            if node.op_type == EXACT:
                bits = given["bits"].i
                node.op_type = sampling_operator(bits)
                bodies[node.op_type] = sampling_function(bits)
                continue
            timesteps = given["T"].i if "T" in given else 1
            rule = (given["rounding"].s.decode(), timesteps)
            node.op_type = operator(*rule)
            bodies[node.op_type] = neuron_function(*rule)
    proto.functions.extend(body for _, body in sorted(bodies.items()))


def _name_after_modules(proto: onnx.ModelProto) -> None:
    """Rename nodes to ``<module path>`` (neurons) or ``<module path>/<operator>``."""
    taken: set[str] = set()
    for node in proto.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), "[]")
        # The last scope is the traced call itself, the one before it the module.
        modules = [scope for scope in ast.literal_eval(scopes)[:-1] if scope]
        path = modules[-1] if modules else ""
        stem = path if node.domain == DOMAIN else "/".join(filter(None, (path, node.op_type)))
        name, copies = stem, 1
        while name in taken:
            copies += 1
            name = f"{stem}#{copies}"
        taken.add(name)
        node.name = name
        del node.metadata_props[:]
        node.doc_string = ""


def _save(proto: onnx.ModelProto, path: Path) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        onnx.save(proto, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks about itself; nothing of ours is logged meanwhile."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
