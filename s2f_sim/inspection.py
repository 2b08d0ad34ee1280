"""What an EVENT graph is, without running it: types, worst-case bounds, memory, kernels.

Memory is that of the numbers themselves, one sample: the ``events`` engine pads channels to whole
vector registers, and a chip may pack them closer.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import IllegalGraphError
from s2f_deploy.ir.bounds import intervals
from s2f_deploy.ir.graph import Graph, Level, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops import OPS
from s2f_sim import attention, layout, sampling
from s2f_sim.liveness import MEMBRANES, WIRING, LiveMembranes, live_membranes, membrane_bytes
from s2f_sim.quantisation import Quantisation, stored_quantisation
from s2f_sim.shown_counts import populations

SCHEMA = "s2f/inspect/1"
FLOAT_BYTES = 4
LARGEST_EXACT_FLOAT = 2**24

# What the arrays of an operation are, in its own order; the host's network is no memory of a chip.
_WEIGHTED = ("weight", "bias")
_ROLES = {
    "conv2d": _WEIGHTED,
    "linear": _WEIGHTED,
    "affine": _WEIGHTED,
    "event_conv2d": _WEIGHTED,
    "event_linear": _WEIGHTED,
    "integrate_fire": ("comparator",),
    "align": ("grid",),
    "read_out": ("grid",),
    "deformable_sample": ("grid",),
}
_MULTIPLYING = frozenset({"conv2d", "linear", "affine"})
_ACCUMULATING = frozenset({"event_conv2d", "event_linear"})


@dataclass(frozen=True, slots=True)
class LayerInspection:
    """One node that computes; wiring has none.

    Attributes:
        name: of the node; for published networks the path of the module.
        op: its operation in the graph.
        kernel: what the ``events`` engine runs: ``rows``, ``convolution``, ``depthwise``,
            ``grouped`` accumulate, ``products`` or ``dense`` multiply, ``qk_v`` or
            ``q_kv`` is the association of an attention, ``exact`` or ``dyadic b`` what a sampling
            does with offsets. None where there is no choice.
        together: outputs side by side that one row of weights serves; None unless accumulating.
        lane: type in which rows are added up before they reach the accumulator; None likewise.
        burst: rows added there at a time, so that no lane can overflow; None if none ever could.
        shape: of its output, one sample.
        window: from 1, in which these neurons fire; None unless they are neurons.
        levels: D, their largest count; None unless they are neurons.
        weight_type: type of the stored weights, or None.
        weight_bits: narrowest integer that holds every weight; of float32, 32.
        accumulator: type of its membranes, or None where it has none.
        bound: largest absolute value, whatever the input, partial sums included; None of float32
            and of neurons.
        bits: narrowest two's complement integer that holds all of them; None where ``bound`` is.
        neurons: that fire.
        synapses: from a neuron to a membrane, none of which leave the image.
        weights: numbers stored; convolutions share them among synapses.
        weight_bytes: of the weights as stored.
        bias_bytes: of the biases.
        comparator_bytes: of the comparators.
        grid_bytes: of the shifts and exponents that move between grids.
        membrane_bytes: of its output, at the accumulator's width.
        event_bytes: what a thread of the ``events`` engine allocates to list the spikes it
            reads, see `list_bytes`: 4 for each spike there could be, 256 for each list's
            overhang, 8 for each offset. Rows list some positions at a time, convolutions the
            image rows under their kernel, and merge them; attention one head of a token, or one
            channel of all; a sampling its taps, see `largest_list_bytes`.
    """

    name: str
    op: str
    kernel: str | None
    shape: tuple[int, ...]
    window: int | None = None
    levels: int | None = None
    weight_type: str | None = None
    weight_bits: int | None = None
    together: int | None = None
    lane: str | None = None
    burst: int | None = None
    accumulator: str | None = None
    bound: int | None = None
    bits: int | None = None
    neurons: int = 0
    synapses: int = 0
    weights: int = 0
    weight_bytes: int = 0
    bias_bytes: int = 0
    comparator_bytes: int = 0
    grid_bytes: int = 0
    membrane_bytes: int = 0
    event_bytes: int = 0

    @property
    def parameter_bytes(self) -> int:
        """All arrays it stores."""
        return self.weight_bytes + self.bias_bytes + self.comparator_bytes + self.grid_bytes


@dataclass(frozen=True, slots=True)
class Inspection:
    """A whole graph.

    Attributes:
        network: its name.
        arithmetic: of its weights: ``float32``, ``int16`` or ``int8``.
        input: shape of one sample.
        levels: D, the largest count of any neuron.
        windows: windows of D timesteps from the image to the last spike.
        quantisation: how integer weights were chosen, where the artefact says.
        layers: in execution order.
        live: the most membranes held at once, freed as the simulator frees them.
    """

    network: str
    arithmetic: str
    input: tuple[int, ...]
    levels: int
    windows: int
    quantisation: Quantisation | None
    layers: tuple[LayerInspection, ...]
    live: LiveMembranes

    def total(self, attribute: str) -> int:
        """The sum of one attribute of `LayerInspection` over all layers."""
        return int(sum(getattr(layer, attribute) for layer in self.layers))

    @property
    def float_weight_bytes(self) -> int:
        """What the weights would take as float32."""
        return FLOAT_BYTES * self.total("weights")

    @property
    def widest(self) -> LayerInspection | None:
        """The first layer whose integer sums need most bits; None if nothing is an integer."""
        summing = [layer for layer in self.layers if layer.bits is not None]
        return max(summing, key=lambda layer: layer.bits or 0, default=None)

    @property
    def beyond_float(self) -> tuple[LayerInspection, ...]:
        """Layers whose integer sums float32 would round."""
        summing = (layer for layer in self.layers if layer.bits is not None)
        return tuple(layer for layer in summing if (layer.bound or 0) > LARGEST_EXACT_FLOAT)

    @property
    def longest_list(self) -> LayerInspection | None:
        """The first layer with the largest ``event_bytes``; None if no layer reads spikes."""
        reading = [layer for layer in self.layers if layer.event_bytes]
        return max(reading, key=lambda layer: layer.event_bytes, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; the keys are the names of this class and its parts."""
        summed = (
            "neurons",
            "synapses",
            "weights",
            "weight_bytes",
            "bias_bytes",
            "comparator_bytes",
            "grid_bytes",
            "parameter_bytes",
            "membrane_bytes",
        )
        return {
            "schema": SCHEMA,
            **asdict(self),
            "input": list(self.input),
            "layers": [asdict(layer) | {"shape": list(layer.shape)} for layer in self.layers],
            "total": {
                **{name: self.total(name) for name in summed},
                "float_weight_bytes": self.float_weight_bytes,
                "live_membrane_bytes": self.live.bytes,
            },
        }


def inspect_graph(graph: Graph) -> Inspection:
    """Say what an EVENT graph is.

    Raises:
        IllegalGraphError: the graph is at another level.
        InputError: its quantisation report is malformed.
    """
    if graph.level is not Level.EVENT:
        raise IllegalGraphError(
            f"{graph.name} is a {graph.level.value} graph: it has no windows and no membranes",
            where=graph.name,
            fix="lower it: s2f export does",
        )
    types = {node.name: node.output for node in graph.nodes}
    bounds = {name: i for name, i in intervals(graph).items() if not types[name].levels}
    layers = tuple(
        _layer(graph, node, types, bounds.get(node.name))
        for node in graph.nodes
        if node.op not in WIRING
    )
    neurons = list(graph.select("integrate_fire"))
    quantisation = stored_quantisation(graph)
    return Inspection(
        network=graph.name,
        arithmetic=_arithmetic(graph, quantisation),
        input=next(graph.select("input")).output.shape,
        levels=max((node.output.levels for node in populations(graph)), default=0),
        windows=max((node["window"] for node in neurons), default=0),
        quantisation=quantisation,
        layers=layers,
        live=live_membranes(graph),
    )


def _layer(
    graph: Graph, node: Node, types: dict[str, TensorType], interval: Interval | None
) -> LayerInspection:
    read = [types[name] for name in node.inputs]
    arrays = dict(zip(_ROLES.get(node.op, ()), graph.arrays(node), strict=False))
    weight = arrays.get("weight")
    fires = node.op == "integrate_fire"
    sums = node.op in MEMBRANES and not node.output.levels
    dense_macs = OPS[node.op].dense_macs if node.op in _ACCUMULATING else None
    execution = _execution(node, read, weight)
    memory: dict[str, Any] = {f"{role}_bytes": array.nbytes for role, array in arrays.items()}
    return LayerInspection(
        name=node.name,
        op=node.op,
        shape=node.output.shape,
        window=node["window"] if fires else None,
        levels=node["levels"] if fires else None,
        weight_type=None if weight is None else str(weight.dtype),
        weight_bits=None if weight is None else _bits(weight),
        accumulator=node.output.dtype.value if sums else None,
        bound=None if interval is None else interval.reach,
        bits=None if interval is None else interval.bits,
        neurons=node.output.channels * node.output.positions if fires else 0,
        synapses=dense_macs(node, read, graph.arrays(node)) if dense_macs else 0,
        weights=0 if weight is None else weight.size,
        membrane_bytes=membrane_bytes(node),
        **execution,
        **memory,
    )


def _execution(node: Node, read: list[TensorType], weight: NDArray[Any] | None) -> dict[str, Any]:
    """What the ``events`` engine runs, in which lanes, and the bytes of its event lists."""
    if node.op == "attention":
        listed = attention.largest_event_list_bytes(node, *read)
        return {"kernel": node["association"], "event_bytes": listed}
    if node.op == "deformable_sample":
        mode = f"dyadic {node['bits']}" if node["bits"] else "exact"
        return {"kernel": mode, "event_bytes": sampling.largest_list_bytes(node, read[2])}
    if node.op not in _ACCUMULATING:
        products = node.op == "conv2d" and node["groups"] == 1
        multiplies = "products" if products else "dense"
        return {"kernel": multiplies if node.op in _MULTIPLYING else None}
    assert weight is not None
    chosen = layout.choose_layout(node, read[0], weight)
    narrow = layout.narrow_sums(read[0], weight, chosen)
    return {
        "kernel": chosen.kernel,
        "together": chosen.together,
        "lane": narrow.dtype.name,
        "burst": narrow.burst,
        "event_bytes": layout.largest_event_list_bytes(node, read[0], weight, chosen),
    }


def _bits(weight: NDArray[Any]) -> int:
    if weight.dtype.kind == "f":
        return 8 * weight.itemsize
    low, high = int(weight.min(initial=0)), int(weight.max(initial=0))
    return Interval.constant(low, high, 1).bits


def _arithmetic(graph: Graph, quantisation: Quantisation | None) -> str:
    """What export noted, else what the lowering did, else the widest type of any weight."""
    stored = graph.metadata.get("arithmetic")
    if isinstance(stored, str):
        return stored
    if quantisation is not None:
        return quantisation.weights
    weighted = graph.select(*_MULTIPLYING, *_ACCUMULATING)
    types = [graph.arrays(node)[0].dtype for node in weighted]
    return str(max(types, key=lambda dtype: dtype.itemsize, default=np.dtype(np.float32)))
