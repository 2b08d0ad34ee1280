"""The float network as any ONNX runtime executes it, with every neuron's counts read out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from s2f_deploy.errors import ArtefactError, UnsupportedPatternError
from s2f_deploy.frontend.importer import describe
from s2f_deploy.frontend.integer_fire import DOMAIN
from s2f_deploy.frontend.sampling_readers import SAMPLINGS
from s2f_deploy.ir.graph import WIRING, DType, Graph, Node, through_wiring, wired_sources
from s2f_deploy.ops import evaluate
from s2f_sim.onnx_runtime import TensorReader
from s2f_sim.shown_counts import shown_counts

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
    `error_bounds` are those of the written operators. Where the graph fires in front of wiring that
    the file has in front of a neuron, membranes are read there and rounded here; what the wiring
    then shows must be what the file's neuron hands out.

    Args:
        graph: a FLOAT graph with its reference.
        threads: of ONNX Runtime within one operator; its own default if None.

    Raises:
        ArtefactError: the reference lacks a neuron of the graph.
    """

    def __init__(self, graph: Graph, threads: int | None = None) -> None:
        model = onnx.load_from_string(graph.reference)
        self._graph = graph
        self._outputs = list(graph.select("output"))
        self._fired: dict[str, str] = {
            describe(node): node.output[0]
            for node in model.graph.node
            if node.domain == DOMAIN and node.op_type not in SAMPLINGS
        }
        # Of several results the first is the tensor that is normalised or pooled.
        self._currents: dict[str, str] = {
            describe(node): node.output[0] for node in model.graph.node
        }
        self._read = dict.fromkeys(self._wanted())
        self._reader = TensorReader(model, self._read, threads, fused=False)

    def _wanted(self) -> Iterator[str]:
        """The tensors to be read."""
        for node in self._graph.nodes:
            if node.op == "integer_fire" or node.origin in self._fired:
                tensor = self._tensor(node)
                yield from () if tensor is None else (tensor,)
        yield from (node.name for node in self._outputs)

    def _tensor(self, node: Node) -> str | None:
        """The ONNX tensor of what a node fires or, in front of wiring, reads; None: the image."""
        if node.origin in self._fired:
            return self._fired[node.origin]
        if through_wiring(self._graph.by_name(), node.inputs[0]).op == "input":
            return None
        if node.origin in self._currents:
            return self._currents[node.origin]
        raise ArtefactError(
            f"the stored float network has no neuron {node.origin}",
            where=node.name,
            fix="the artefact is damaged: export the network again",
        )

    def run(self, sample: NDArray[np.float32]) -> FloatResult:
        """Counts and outputs for one sample, float32[C, H, W].

        Raises:
            ArtefactError: a neuron of the reference hands out something that is no count.
        """
        tensors = list(self._read)
        read = dict(zip(tensors, self._reader.read(sample, tensors), strict=True))
        counts: dict[str, NDArray[np.uint8]] = {}
        for node in self._graph.select("integer_fire"):
            tensor = self._tensor(node)
            value = sample if tensor is None else read[tensor]
            fires = node.origin in self._fired
            if not fires:
                arrays = self._graph.arrays(node)
                value = evaluate(node, [value.reshape(node.output.array_shape)], arrays)
            counts[node.name] = _counts(node, value)
        shown = shown_counts(self._graph, counts)
        for node in self._graph.select(*WIRING):
            if node.origin in self._fired:
                self._check(node, read[self._fired[node.origin]], shown[node.name])
        return FloatResult(counts, {n.name: _shaped(n, read[n.name]) for n in self._outputs})

    def _check(self, node: Node, value: NDArray[Any], shown: NDArray[np.uint8]) -> None:
        """A neuron of the file must hand out what is shown in its place."""
        population = wired_sources(self._graph.by_name(), node.name)[0]
        fired = replace(population, name=node.name, output=node.output)
        if not np.array_equal(_counts(fired, value), shown):
            raise ArtefactError(
                f"{node.name} of the stored float network hands out other counts than neurons in "
                "front of its wiring",
                where=node.origin,
                fix="check the weights for values that are not finite, and export again",
            )


def check_same(network: Graph, graph: Graph) -> None:
    """The float network stored in an artefact is the one that was lowered.

    Args:
        network: its FLOAT graph.
        graph: the EVENT graph. With integer weights it may lack neurons that no input changes.

    Raises:
        ArtefactError: inputs, neurons or outputs have other names or shapes.
    """
    said, computed = (
        {_described(node) for node in one.nodes if _fires(node) or node.op in ("input", "output")}
        for one in (network, graph)
    )
    differing = computed - said
    differing |= {one for one in said - computed if not (graph.deployed and one[1])}
    if differing:
        raise ArtefactError(
            f"the stored float network is another one: it differs in {min(differing)[0]!r}",
            where=graph.name,
            fix="the artefact is damaged: export the network again",
        )


def _fires(node: Node) -> bool:
    """Whether it is a neuron, or counts that no input changes."""
    given = node.op == "constant" and node.output.dtype is DType.COUNT
    return given or node.op in ("integer_fire", "integrate_fire")


def _described(node: Node) -> tuple[str, bool, int, tuple[int, ...]]:
    """Name, whether it fires, real timesteps and shape."""
    return node.name, _fires(node), node.output.steps, _order(node)


def _order(node: Node) -> tuple[int, ...]:
    """Its shape; results may come in another one of as many elements."""
    return (
        (node.output.channels * node.output.positions,)
        if node.op == "output"
        else node.output.shape
    )


def _shaped(node: Node, value: NDArray[Any]) -> NDArray[Any]:
    if value.size != np.prod(node.output.array_shape):
        raise ArtefactError(
            f"the stored float network gives {list(value.shape)} for {node.name}, {node.output}",
            where=node.origin,
            fix="the artefact is damaged: export the network again",
        )
    return value.reshape(node.output.array_shape)


def _counts(node: Node, value: NDArray[Any]) -> NDArray[np.uint8]:
    shape = node.output.array_shape
    in_front = 2 if node.output.steps > 1 else 1
    if value.shape[:in_front] != shape[:in_front] or value.size != np.prod(shape):
        raise UnsupportedPatternError(
            f"{node.name} fires on {list(value.shape)}, channels and positions rearranged",
            where=node.origin,
            fix="let the neuron fire before the tensor is transposed",
        )
    counts = value.astype(np.float64).reshape(shape) * node["norm"]
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
