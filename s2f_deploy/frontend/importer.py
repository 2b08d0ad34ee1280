"""The state of one import: nodes made so far, and what every ONNX tensor is in their terms."""

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.frontend.views import Constant, Value, View, whole
from s2f_deploy.ir.graph import Attribute, DType, Node, TensorType, attributes, wired_sources
from s2f_deploy.ops import infer_type

# Modules with weights, and neurons, are known by their module's path alone.
_NAMED_BY_MODULE = re.compile(r"/(Conv|Gemm|MatMul|BatchNormalization)(#\d+)?$")


def describe(node: onnx.NodeProto) -> str:
    """How errors and reports cite an ONNX node."""
    return f"{node.op_type} {node.name or node.output[0]}"


def unsupported(node: onnx.NodeProto, why: str, fix: str) -> UnsupportedPatternError:
    """The error for an ONNX node that has no place in a spiking network."""
    return UnsupportedPatternError(f"{describe(node)}: {why}", where=node.name, fix=fix)


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute of an ONNX node as a Python value."""
    for found in node.attribute:
        if found.name == name:
            value = helper.get_attribute_value(found)
            return value.decode() if isinstance(value, bytes) else value
    return default


@dataclass(slots=True)
class Importer:
    """What readers of ONNX operators build on."""

    nodes: dict[str, Node] = field(default_factory=dict)
    params: dict[str, NDArray[Any]] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    _wirings: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def constant(self, node: onnx.NodeProto, position: int) -> NDArray[Any] | None:
        """The array at one input, None where the input is absent or computed."""
        if position >= len(node.input) or not node.input[position]:
            return None
        value = self.values[node.input[position]]
        return value.array if isinstance(value, Constant) else None

    def required(self, node: onnx.NodeProto, position: int) -> NDArray[Any]:
        """The array at an input that must be known at import."""
        array = self.constant(node, position)
        if array is None:
            raise unsupported(
                node, f"input {position} is computed", "only constant weights can be deployed"
            )
        return array

    def view(self, node: onnx.NodeProto, position: int) -> View:
        """The computed tensor at one input."""
        value = self.values[node.input[position]]
        if isinstance(value, View):
            return value
        kind = "is constant" if isinstance(value, Constant) else "is half of an attention"
        raise unsupported(
            node, f"input {position} {kind}", "only spikes and currents can be computed with"
        )

    def reads_spikes(self, node: onnx.NodeProto) -> bool:
        """Whether an input of an ONNX node is what a neuron emits."""
        views = [self.values.get(name) for name in node.input]
        return any(
            source.op == "integer_fire"
            for view in views
            if isinstance(view, View)
            for source in wired_sources(self.nodes, view.node)
        )

    def laid_out(self, node: onnx.NodeProto, view: View) -> str:
        """Name of a node whose result has the tensor's own shape, channels first.

        Raises:
            UnsupportedPatternError: the tensor's wiring moves elements between real timesteps.
        """
        shape = view.shape[1:]
        if view.times > 1:
            return self._repeated(node, view)
        output = self.nodes[view.node].output
        if not view.in_order or (view.shape[0], shape[0]) != (output.steps, output.channels):
            return self._rewired(node, view)
        source = self.nodes[view.node]
        if source.output.shape == shape:
            return view.node
        name = f"{view.node}.as_{'x'.join(map(str, shape[1:])) or 'vector'}"
        if name not in self.nodes:
            output = replace(source.output, shape=shape)
            self.nodes[name] = Node(name, "reshape", (view.node,), (), output, source.origin, ())
        return name

    def _rewired(self, node: onnx.NodeProto, view: View) -> str:
        """Elements at other places: a node of its own, one for equal wirings of one source."""
        source = self.nodes[view.node]
        if view.shape[0] != 1 or source.output.steps != 1:
            raise unsupported(
                node,
                f"reads {list(view.shape)} with real timesteps and positions rearranged",
                "keep timesteps on the first axis",
            )
        index = view.index.reshape(-1)
        key = (view.node, view.shape[1:], hashlib.sha256(index.tobytes()).digest())
        if key not in self._wirings:
            name = self.unused(f"{view.node}.wired")
            self.params[f"{name}.index"] = index
            output = replace(source.output, shape=view.shape[1:])
            params = (f"{name}.index",)
            # Not the source's own origin: by that, tensors of the float network are found.
            origin = f"wiring of {source.origin}"
            self.nodes[name] = Node(name, "rewire", (view.node,), params, output, origin)
            self._wirings[key] = name
        return self._wirings[key]

    def hold(self, node: onnx.NodeProto, values: NDArray[Any]) -> str:
        """Name of a node that always gives ``values``[C, ...]."""
        name = self.unused(f"{self.name_for(node)}.constant")
        self.params[f"{name}.values"] = np.ascontiguousarray(values)
        output = TensorType(values.shape, DType.FLOAT32)
        self.nodes[name] = Node(name, "constant", (), (f"{name}.values",), output, describe(node))
        return name

    def _repeated(self, node: onnx.NodeProto, view: View) -> str:
        """What is equal at all timesteps, once per timestep."""
        source = self.laid_out(node, view.rearranged(view.index[:1]))
        name = f"{source}.repeated"
        if name not in self.nodes:
            self.nodes[name] = replace(
                self.nodes[source],
                name=name,
                op="repeat",
                inputs=(source,),
                params=(),
                output=replace(self.nodes[source].output, steps=view.times),
                attributes=attributes(steps=view.times),
            )
        return name

    def name_for(self, node: onnx.NodeProto) -> str:
        """A unique, printable name."""
        base = _NAMED_BY_MODULE.sub("", node.name) or node.name or node.output[0]
        return self.unused(re.sub(r"[\s()\[\]{},%@#=]+", "_", base))

    def unused(self, base: str) -> str:
        """``base``, or with a number behind it if a node has that name."""
        name, copies = base, 1
        while name in self.nodes:
            copies += 1
            name = f"{base}_{copies}"
        return name

    def emit(
        self,
        node: onnx.NodeProto,
        op: str,
        inputs: tuple[str, ...],
        arrays: dict[str, NDArray[Any]],
        **constants: Attribute,
    ) -> View:
        """Append a node and return its whole result.

        Args:
            node: the ONNX node it comes from.
            op: key into ``OPS``.
            inputs: names of the nodes it reads.
            arrays: its parameters; the key becomes the last part of the parameter's name.
            constants: its attributes.
        """
        name = self.name_for(node)
        # Only the element type counts here; the type rule gives the shape.
        real = TensorType((), DType.FLOAT32)
        params = {f"{name}.{key}": array for key, array in arrays.items()}
        made = Node(name, op, inputs, tuple(params), real, describe(node), attributes(**constants))
        types = [self.nodes[i].output for i in inputs]
        inferred = infer_type(made, types, list(arrays.values()))
        self.nodes[name] = replace(made, output=inferred)
        self.params |= {key: np.ascontiguousarray(array) for key, array in params.items()}
        return whole(name, inferred)
