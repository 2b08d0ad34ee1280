"""The deployed network as any ONNX runtime executes it, its neurons' counts and membranes read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from s2f_deploy.errors import ArtefactError
from s2f_deploy.ir.graph import Graph
from s2f_sim.onnx_runtime import TensorReader
from s2f_sim.shown_counts import populations

MEMBRANE = ".membrane"


@dataclass(frozen=True, eq=False, slots=True)
class DeployedResult:
    """What the deployed network computed for one sample.

    Attributes:
        counts: float32[C, ...] of every neuron; whole numbers, or the network is damaged.
        membranes: float32 or float64[C, ...], in units of one spike; of neurons that round, not
            of those that compare.
        levels: D of these.
        outputs: float32, by output name.
    """

    counts: Mapping[str, NDArray[Any]]
    membranes: Mapping[str, NDArray[Any]]
    levels: Mapping[str, int]
    outputs: Mapping[str, NDArray[Any]]

    def margins(self, name: str) -> NDArray[np.float64] | None:
        """Of a neuron layer that rounds, distances to the nearest of ½, 1½, ... D − ½."""
        if name not in self.membranes:
            return None
        # One layer at a time: of a large network all of them would take more than anything else.
        membrane = self.membranes[name].astype(np.float64)
        nearest = np.clip(np.floor(membrane), 0, self.levels[name] - 1) + 0.5
        distance: NDArray[np.float64] = np.abs(membrane - nearest)
        return distance


class DeployedReference:
    """ONNX Runtime on the float form of a graph with integer weights.

    It may fuse what it likes: where nothing is rounded, no order of additions matters.

    Args:
        graph: an EVENT graph with its deployed form.
        threads: of ONNX Runtime within one operator; its own default if None.

    Raises:
        ArtefactError: the deployed form is damaged, or of another network.
    """

    def __init__(self, graph: Graph, threads: int | None = None) -> None:
        try:
            model = onnx.load_from_string(graph.deployed)
        except DecodeError as error:
            raise _foreign(graph, "is damaged") from error
        made = {name for node in model.graph.node for name in node.output}
        self._graph = graph
        self._neurons = list(populations(graph))
        self._outputs = list(graph.select("output"))
        for node in (*self._neurons, *self._outputs):
            if node.name not in made:
                raise _foreign(graph, f"lacks {node.name}")
        self.wide_layers = _wide_layers(model, graph)
        self._rounding = [n for n in self._neurons if f"{n.name}.clipped" in made]
        membranes = [f"{node.name}{MEMBRANE}" for node in self._rounding]
        self._tensors = [n.name for n in (*self._neurons, *self._outputs)] + membranes
        self._reader = TensorReader(model, self._tensors, threads, fused=True)
        self.runtime = f"ONNX Runtime {self._reader.version}"

    def run(self, sample: NDArray[np.float32]) -> DeployedResult:
        """Counts, membranes and outputs for one sample, float32[C, H, W]."""
        read = dict(zip(self._tensors, self._reader.read(sample, self._tensors), strict=True))
        for node in (*self._neurons, *self._outputs):
            if read[node.name].size != np.prod(node.output.array_shape):
                raise _foreign(self._graph, f"gives {list(read[node.name].shape)} for {node.name}")
        return DeployedResult(
            {node.name: read[node.name] for node in self._neurons},
            {node.name: read[f"{node.name}{MEMBRANE}"] for node in self._rounding},
            {node.name: node.output.levels for node in self._rounding},
            {node.name: read[node.name] for node in self._outputs},
        )


def _wide_layers(model: onnx.ModelProto, graph: Graph) -> tuple[str, ...]:
    """Layers whose sums float32 might round: they are split, or added in double precision."""
    double = onnx.TensorProto.DOUBLE
    constants = {a.name for a in model.graph.initializer if a.data_type == double}
    return tuple(
        node.name
        for node in graph.nodes
        if f"{node.name}.{_WITH_ITS_SUMS.get(node.op, '')}" in constants
        or (node.op == "attention" and _casts(model, node.name))
    )


# A constant of each operation that is as precise as its sums.
_WITH_ITS_SUMS = {
    **dict.fromkeys(("event_conv2d", "event_linear", "conv2d", "linear"), "bias"),
    "bilinear_upsample": "near_weight",
    "deformable_sample": "zero",
}


def _casts(model: onnx.ModelProto, name: str) -> bool:
    """Whether an attention's operands are cast to double precision."""
    made = {n.output[0]: n for n in model.graph.node}
    split = made.get(f"{name}.0.split")
    return split is not None and split.input[0].endswith(".double")


def _foreign(graph: Graph, what: str) -> ArtefactError:
    return ArtefactError(
        f"the stored deployed network {what}",
        where=graph.name,
        fix="the artefact is damaged: export the network again",
    )
