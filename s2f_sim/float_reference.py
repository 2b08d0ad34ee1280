"""The float network as any ONNX runtime executes it, with every neuron's counts read out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from s2f_deploy.errors import ArtefactError, UnsupportedPatternError
from s2f_deploy.frontend.importer import describe
from s2f_deploy.frontend.integer_fire import DOMAIN
from s2f_deploy.ir.graph import Graph, Node
from s2f_sim.onnx_runtime import TensorReader

# n / norm · norm in float32 misses an integer by less than this for every count up to 255.
_INTEGER_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False, slots=True)
class FloatResult:
    """What the float network computed for one sample.

    Attributes:
        counts: uint8[C, ...] of every neuron, laid out as in the graph.
        outputs: float32, by output name, laid out as in the graph.
    """

    counts: Mapping[str, NDArray[np.uint8]]
    outputs: Mapping[str, NDArray[Any]]


class FloatReference:
    """ONNX Runtime on a FLOAT graph's own file.

    Its operators run as they are written, unfused, because the rounding bounds of
    `error_bounds` are those of the written operators.

    Args:
        graph: a FLOAT graph with its reference.
        threads: of ONNX Runtime within one operator; its own default if None.

    Raises:
        ArtefactError: the reference lacks a neuron of the graph.
    """

    def __init__(self, graph: Graph, threads: int | None = None) -> None:
        model = onnx.load_from_string(graph.reference)
        self._neurons = _tensors_of(graph, model)
        self._outputs = list(graph.select("output"))
        self._tensors = [*self._neurons.values(), *(node.name for node in self._outputs)]
        self._graph = graph
        self._reader = TensorReader(model, self._tensors, threads, fused=False)

    def run(self, sample: NDArray[np.float32]) -> FloatResult:
        """Counts and outputs for one sample, float32[C, H, W].

        Raises:
            ArtefactError: a neuron of the reference hands out something that is no count.
        """
        neurons = [self._graph.node(name) for name in self._neurons]
        results = self._reader.read(sample, self._tensors)
        emitted = zip(neurons, results, strict=False)
        computed = zip(self._outputs, results[len(neurons) :], strict=True)
        return FloatResult(
            {node.name: _counts(node, value) for node, value in emitted},
            {node.name: value.reshape(node.output.shape) for node, value in computed},
        )


def _tensors_of(graph: Graph, model: onnx.ModelProto) -> dict[str, str]:
    """The ONNX tensor that every neuron of the graph hands out, in the graph's order."""
    tensors = {describe(node): node.output[0] for node in model.graph.node if node.domain == DOMAIN}
    found = {}
    for neuron in graph.select("integer_fire"):
        if neuron.origin not in tensors:
            raise ArtefactError(
                f"the stored float network has no neuron {neuron.origin}",
                where=neuron.name,
                fix="the artefact is damaged: export the network again",
            )
        found[neuron.name] = tensors[neuron.origin]
    return found


def _counts(node: Node, value: NDArray[Any]) -> NDArray[np.uint8]:
    if value.shape[0] != node.output.channels or value.size != np.prod(node.output.shape):
        raise UnsupportedPatternError(
            f"{node.name} fires on {list(value.shape)}, channels and positions rearranged",
            where=node.origin,
            fix="let the neuron fire before the tensor is transposed",
        )
    counts = value.astype(np.float64).reshape(node.output.shape) * node["norm"]
    whole = np.rint(counts)
    outside = (whole < 0) | (whole > node["levels"])
    # Written so that NaN, too, is no count.
    if outside.any() or not (np.abs(counts - whole) < _INTEGER_TOLERANCE).all():
        raise ArtefactError(
            f"{node.name} of the stored float network hands out values that are no counts "
            f"0 to {node['levels']}",
            where=node.origin,
            fix="check the weights for values that are not finite, and export again",
        )
    small: NDArray[np.uint8] = whole.astype(np.uint8)
    return small
