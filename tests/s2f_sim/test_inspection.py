"""Numbers worked out by hand on a tiny graph, and compared with what the simulator really does."""

import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import s2f_deploy
from s2f_deploy import Graph
from s2f_deploy.errors import IllegalGraphError, InputError
from s2f_deploy.ir.graph import DType, Level, Node, TensorType, attributes
from s2f_deploy.ir.verify import verify
from s2f_sim.engine import Walk
from s2f_sim.fusion import Step, single_steps
from s2f_sim.inspection import Inspection, LayerInspection, inspect_graph

PLANE = (2, 4, 4)
GEOMETRY = {"groups": 1, "stride": (1, 1)}


def node(name: str, op: str, inputs: str, params: str, output: TensorType, **values: Any) -> Node:
    names = tuple(f"{name}.{array}" for array in params.split())
    return Node(name, op, tuple(inputs.split()), names, output, name, attributes(**values))


def tiny() -> Graph:
    """A digitised image, a residual block whose branch is shifted, a sum over the plane, a head."""
    whole, counts = TensorType(PLANE, DType.INT32), TensorType(PLANE, DType.COUNT, 3)
    image = TensorType((1, 4, 4), DType.FLOAT32)
    nodes = (
        node("image", "input", "", "", image),
        node("pixels", "digitise", "image", "", replace(image, dtype=DType.INT32), **RANGE),
        node("encode", "conv2d", "pixels", "weight bias", whole, **GEOMETRY, padding=(1, 1, 1, 1)),
        node("fire1", "integrate_fire", "encode", "comparators", counts, levels=3, window=1),
        node("branch", "event_conv2d", "fire1", "weight bias", whole, **GEOMETRY, padding=(0,) * 4),
        node("shifted", "align", "branch", "shifts", whole),
        node("sum", "add", "encode shifted", "", whole),
        node("tokens", "reshape", "sum", "", TensorType((2, 16), DType.INT32)),
        node("pool", "sum_pool", "tokens", "", TensorType((2,), DType.INT32)),
        node(
            "fire2",
            "integrate_fire",
            "pool",
            "comparators",
            TensorType((2,), DType.COUNT, 1),
            levels=1,
            window=2,
        ),
        node("head", "event_linear", "fire2", "weight bias", TensorType((3,), DType.INT32)),
        node("real", "read_out", "head", "exponents", TensorType((3,), DType.FLOAT32)),
        node("logits", "output", "real", "", TensorType((3,), DType.FLOAT32)),
    )
    kernel = np.ones((2, 1, 3, 3), np.int8)
    kernel[1] = -2
    params: dict[str, NDArray[Any]] = {
        "encode.weight": kernel,
        "encode.bias": np.array([5, 0], np.int32),
        "fire1.comparators": np.array([[1], [2], [3]], np.int32),
        "branch.weight": np.array([[[[1, -1], [2, -4]]]], np.int8),
        "branch.bias": np.array([0, 1], np.int32),
        "shifted.shifts": np.array([2, 0], np.uint8),
        "fire2.comparators": np.array([[10, 20]], np.int32),
        "head.weight": np.array([[1, 2, 3], [4, 5, 6]], np.int16),
        "head.bias": np.zeros(3, np.int32),
        "real.exponents": np.zeros(3, np.int32),
    }
    graph = Graph("tiny", Level.EVENT, nodes, params)
    verify(graph)
    return graph


RANGE = {"exponent": 0, "low": -3, "high": 3}


@pytest.fixture(scope="module")
def inspected() -> Inspection:
    return inspect_graph(tiny())


@pytest.fixture(scope="module")
def int8_graph(tiny_onnx: Path) -> Graph:
    return s2f_deploy.lower(tiny_onnx, "int8")


def layers(inspection: Inspection) -> dict[str, LayerInspection]:
    return {layer.name: layer for layer in inspection.layers}


def test_wiring_has_no_row_and_the_rest_is_in_execution_order(inspected: Inspection) -> None:
    found = " ".join(layers(inspected))
    assert found == "pixels encode fire1 branch shifted sum pool fire2 head real"


def test_bounds_and_their_bits(inspected: Inspection) -> None:
    found = {name: (layer.bound, layer.bits) for name, layer in layers(inspected).items()}
    assert found == {
        "pixels": (3, 3),
        # 9 taps of -2 times a pixel of 3.
        "encode": (54, 7),
        "fire1": (None, None),
        # Channel 1 is at least -1 * 3 - 4 * 3.
        "branch": (15, 5),
        # Channel 0 is at most (1 * 3 + 2 * 3) << 2.
        "shifted": (36, 7),
        # Channel 1 is at least -54 - 15; channel 0 at most 5 + 27 + 36.
        "sum": (69, 8),
        "pool": (16 * 69, 12),
        "fire2": (None, None),
        "head": (9, 5),
        "real": (None, None),
    }


def test_bytes(inspected: Inspection) -> None:
    found = layers(inspected)
    memory = {
        name: (
            layer.weight_bytes,
            layer.bias_bytes,
            layer.comparator_bytes,
            layer.grid_bytes,
            layer.membrane_bytes,
            layer.event_bytes,
        )
        for name, layer in found.items()
    }
    assert memory == {
        "pixels": (0, 0, 0, 0, 0, 0),
        "encode": (18, 8, 0, 0, 128, 0),
        "fire1": (0, 0, 12, 0, 0, 0),
        # 16 positions list 2 channels up to 3 times, and 64 more; an offset for each and one more.
        "branch": (4, 8, 0, 0, 128, (16 * 2 * 3 + 64) * 4 + 17 * 8),
        "shifted": (0, 0, 0, 2, 128, 0),
        "sum": (0, 0, 0, 0, 128, 0),
        "pool": (0, 0, 0, 0, 8, 0),
        "fire2": (0, 0, 8, 0, 0, 0),
        "head": (12, 12, 0, 0, 12, (2 + 64) * 4 + 2 * 8),
        "real": (0, 0, 0, 12, 0, 0),
    }
    assert found["branch"].parameter_bytes == 12


def test_types_and_windows(inspected: Inspection) -> None:
    found = layers(inspected)
    assert (found["encode"].weight_type, found["encode"].weight_bits) == ("int8", 2)
    assert (found["head"].weight_type, found["head"].weight_bits) == ("int16", 4)
    assert [(layer.window, layer.levels) for layer in inspected.layers if layer.neurons] == [
        (1, 3),
        (2, 1),
    ]
    assert {name for name, layer in found.items() if layer.accumulator == "int32"} == {
        "encode",
        "branch",
        "shifted",
        "sum",
        "pool",
        "head",
    }
    kernels = [(one.kernel, one.together, one.lane, one.burst) for one in inspected.layers]
    assert [kernel for kernel in kernels if kernel[0]] == [
        ("products", None, None, None),
        ("rows", 1, "int16", None),
        ("rows", 1, "int32", None),
    ]


def test_totals(inspected: Inspection) -> None:
    assert (inspected.network, inspected.input) == ("tiny", (1, 4, 4))
    assert inspected.arithmetic == "int16", "the widest weights, where nothing is noted"
    assert (inspected.levels, inspected.windows) == (3, 2)
    total = inspected.to_dict()["total"]
    assert total == {
        "neurons": 34,
        "synapses": 16 * 4 + 6,
        "weights": 18 + 4 + 6,
        "weight_bytes": 18 + 4 + 12,
        "bias_bytes": 28,
        "comparator_bytes": 20,
        "grid_bytes": 14,
        "parameter_bytes": 96,
        "membrane_bytes": 4 * 128 + 8 + 12,
        "float_weight_bytes": 4 * 28,
        # The encoding's waits for the sum while the branch is shifted.
        "live_membrane_bytes": 3 * 128,
    }
    assert inspected.live.layer == "shifted"
    assert inspected.widest is layers(inspected)["pool"]
    assert inspected.longest_list is layers(inspected)["branch"]
    assert inspected.beyond_float == ()


def test_sums_beyond_float32_are_named() -> None:
    graph = tiny()
    wide = {**graph.params, "shifted.shifts": np.array([22, 0], np.uint8)}
    found = inspect_graph(replace(graph, params=wide))
    assert [layer.name for layer in found.beyond_float] == ["shifted", "sum", "pool"]


def test_float32_has_no_bounds_but_attention_has(tiny_graph: Graph) -> None:
    found = inspect_graph(tiny_graph)
    assert found.arithmetic == "float32"
    assert found.quantisation is None
    bounded = [layer for layer in found.layers if layer.bound is not None]
    assert [layer.op for layer in bounded] == ["attention"] * 2
    # Three counts of 4, over 64 tokens and the 4 channels of a head.
    assert bounded[0].bound == 4 * 4 * 4 * 64 * 4
    assert found.float_weight_bytes == found.total("weight_bytes")


def test_a_graph_of_another_level_is_refused(tiny_graph: Graph) -> None:
    with pytest.raises(IllegalGraphError, match="integer graph"):
        inspect_graph(replace(tiny_graph, level=Level.INTEGER))


def test_the_quantisation_report_is_summed_up(int8_graph: Graph) -> None:
    stored = {
        "weights": "int8",
        "overrides": {"head": 16},
        "calibration_images": 2,
        "neurons": 200,
        "counts_changed": 30,
        "layers": [
            {"layer": "a", "cut": 1, "own_error": 0.01},
            {"layer": "b", "cut": 2, "own_error": 0.02},
            {"layer": "c", "cut": 0, "own_error": None},
        ],
    }
    inspected = inspect_graph(replace(int8_graph, metadata={"quantisation": stored}))
    found = inspected.quantisation
    assert found is not None
    assert inspected.arithmetic == found.weights == "int8"
    assert (found.cut, found.worst_layer, found.worst_error) == (3, "b", 0.02)
    assert (found.neurons, found.counts_changed, found.overrides) == (200, 30, {"head": 16})


GOOD: dict[str, Any] = {
    "weights": "int8",
    "overrides": {},
    "calibration_images": 0,
    "neurons": 0,
    "counts_changed": 0,
    "layers": [],
}


@pytest.mark.parametrize(
    "report",
    [
        5,
        {},
        GOOD | {"neurons": "many"},
        GOOD | {"overrides": {"head": "16"}},
        GOOD | {"layers": [{"layer": "a"}]},
    ],
)
def test_a_malformed_quantisation_report_is_refused(int8_graph: Graph, report: object) -> None:
    assert inspect_graph(replace(int8_graph, metadata={"quantisation": GOOD})).quantisation
    with pytest.raises(InputError, match="quantisation report"):
        inspect_graph(replace(int8_graph, metadata={"quantisation": report}))


class Ledger:
    """An engine that computes nothing, and knows which membranes somebody still holds."""

    def __init__(self, graph: Graph) -> None:
        self.steps = single_steps(graph)
        self.live = self.peak = 0
        self.at = ""

    def from_array(self, node: Node, array: NDArray[Any]) -> NDArray[Any]:
        del node
        return array

    def to_array(self, node: Node, value: NDArray[Any]) -> NDArray[Any]:
        del node
        return np.array(value)

    def spikes(self, node: Node, value: NDArray[Any], timesteps: int) -> NDArray[Any]:
        del node, value
        return np.zeros((timesteps, 1), np.int64)

    def run(
        self, step: Step, values: Mapping[str, Any], timesteps: int
    ) -> tuple[Any, Any, NDArray[Any] | None]:
        del timesteps
        value = self._value(step.node, [values[name] for name in step.inputs])
        return value, value, None

    def _value(self, node: Node, inputs: list[Any]) -> NDArray[Any]:
        if node.op == "reshape":
            view: NDArray[Any] = inputs[0].reshape(node.output.shape)
            return view
        value = np.zeros(node.output.shape, node.output.dtype.array_type)
        if node.op not in ("integrate_fire", "digitise", "read_out", "host"):
            self.live += value.nbytes
            weakref.finalize(value, self._freed, value.nbytes)
        if self.live > self.peak:
            self.peak, self.at = self.live, node.name
        return value

    def _freed(self, size: int) -> None:
        self.live -= size


@pytest.mark.parametrize("weights", ["tiny_graph", "int8_graph"])
def test_live_membranes_are_those_the_walk_holds(
    weights: str, request: pytest.FixtureRequest
) -> None:
    graph: Graph = request.getfixturevalue(weights)
    ledger = Ledger(graph)
    Walk(graph, ledger, 4).run(np.zeros((3, 32, 32), np.float32), {})
    found = inspect_graph(graph).live
    assert (found.bytes, found.layer) == (ledger.peak, ledger.at)


def test_wiring_takes_no_memory() -> None:
    line = TensorType((1, 16), DType.FLOAT32)
    graph = tiny()
    nodes = (
        graph.node("image"),
        node("flat", "reshape", "image", "", line),
        node("scaled", "affine", "flat", "weight bias", line),
        node("again", "reshape", "scaled", "", TensorType((1, 4, 4), DType.FLOAT32)),
        node("out", "output", "again", "", TensorType((1, 4, 4), DType.FLOAT32)),
    )
    one = np.ones(1, np.float32)
    found = inspect_graph(
        replace(graph, nodes=nodes, params={"scaled.weight": one, "scaled.bias": one})
    )
    assert [layer.name for layer in found.layers] == ["scaled"]
    assert found.live.bytes == 64
    assert (found.levels, found.windows, found.widest, found.longest_list) == (0, 0, None, None)
