"""The promise of integer weights: every engine, every runtime, every count, every bit."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deployed_runs import differences, run_deployed, run_replayed, same_bits
from exact_integers import evaluated
from hypothesis import HealthCheck, given, reject, settings
from integer_builder import FixedBuilder
from integer_networks import IntegerCase, extreme_networks, images, integer_networks
from numpy.typing import NDArray

import s2f_deploy
import s2f_sim.workers
from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.bounds import intervals
from s2f_deploy.ir.graph import DType, Graph
from s2f_sim import Simulator
from s2f_sim.engine import Walk
from s2f_sim.fusion import Step
from s2f_sim.reference import ReferenceEngine

DRAWS = int(os.environ.get("S2F_DRAWS", "480"))
"""How many random networks; a tenth as many extreme ones."""

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
REFUSED = re.compile("53 bits do not hold")
"""Chains of layers that multiply what others sum may take more bits than any float has."""


@pytest.fixture(scope="module", autouse=True)
def _threads_for_small_layers() -> Iterator[None]:
    """Layers this small would run on one thread, however many there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s2f_sim.workers, "WORTHWHILE_NS", 0)
        yield


class Recording(ReferenceEngine):
    """The reference engine, keeping every value it computes."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.seen: dict[str, NDArray[Any]] = {}

    def run(
        self, step: Step, values: Mapping[str, Any], timesteps: int
    ) -> tuple[Any, Any, NDArray[Any] | None]:
        membrane, fired, spikes = super().run(step, values, timesteps)
        self.seen[step.node.name] = membrane if step.neuron is None else fired
        return membrane, fired, spikes


def reference_values(graph: Graph, sample: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    engine = Recording(graph)
    Walk(graph, engine, 255).run(sample, {})
    return engine.seen


def check_accumulators(graph: Graph, sample: NDArray[np.float32]) -> None:
    """The reference against Python's integers: equal values of the declared types, in bounds."""
    exact, bounds = evaluated(graph, sample), intervals(graph)
    for name, value in reference_values(graph, sample).items():
        output = graph.node(name).output
        assert value.dtype == output.dtype.array_type, name
        if output.dtype is DType.FLOAT32:
            assert same_bits(value, exact[name]), name
            continue
        assert np.array_equal(value.astype(object), exact[name]), name
        rows = exact[name].reshape(output.steps, output.channels, -1)
        assert (bounds[name].low <= rows.min((0, 2))).all(), name
        assert (rows.max((0, 2)) <= bounds[name].high).all(), name


def check_equivalence(graph: Graph, samples: NDArray[np.float32]) -> None:
    """Spikes on one thread and two, dense integers, and ONNX Runtime with its rewrites or none."""
    runs = [Simulator(graph, "events", threads=threads).run(samples) for threads in (1, 2)]
    runs.append(run_replayed(graph, samples, threads=2))
    runs.append(Simulator(graph, "reference").run(samples))
    for optimised, neurons in ((False, True), (True, True), (True, False)):
        deployed = run_deployed(graph, samples, optimised=optimised, neurons=neurons)
        for run in runs:
            assert differences(run, deployed) == []
    assert all(run.layers == runs[0].layers for run in runs)
    if any(graph.select("host")):
        return
    for sample in samples:
        check_accumulators(graph, sample)


def lowered(case: IntegerCase) -> Graph:
    try:
        return case.lowered()
    except UnsupportedPatternError as refused:
        if not REFUSED.search(str(refused)):
            raise
        reject()


@settings(max_examples=DRAWS, suppress_health_check=SLOW)
@given(integer_networks())
def test_any_network_is_the_same_in_spikes_and_in_floats(case: IntegerCase) -> None:
    check_equivalence(lowered(case), case.samples)


@settings(max_examples=max(DRAWS // 10, 1), suppress_health_check=SLOW)
@given(extreme_networks())
def test_sums_near_their_bounds_are_the_same(case: IntegerCase) -> None:
    check_equivalence(lowered(case), case.samples)


@settings(max_examples=max(DRAWS // 12, 1), suppress_health_check=SLOW)
@given(integer_networks())
def test_an_artefact_holds_all_of_it(tmp_path_factory: Any, case: IntegerCase) -> None:
    graph = lowered(case)
    path: Path = tmp_path_factory.mktemp("artefact") / "net.s2f"
    s2f_deploy.save(graph, path)
    loaded = s2f_deploy.load(path)
    assert (loaded.name, loaded.level, loaded.nodes) == (graph.name, graph.level, graph.nodes)
    assert (loaded.reference, loaded.deployed) == (graph.reference, graph.deployed)
    assert loaded.metadata == graph.metadata
    assert loaded.params.keys() == graph.params.keys()
    for name, array in graph.params.items():
        assert loaded.params[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded.params[name], array)


@pytest.mark.parametrize(
    ("arithmetic", "levels", "dtype"), [("int8", 4, DType.INT32), ("int16", 127, DType.INT64)]
)
def test_layers_of_more_than_a_block_of_registers(
    arithmetic: Any, levels: int, dtype: DType
) -> None:
    """Every kernel, with rows narrower than its accumulators, of both widths."""
    builder = FixedBuilder(np.random.default_rng(6), levels, 1.0, "half_even")
    builder.shapes["image"] = (2, 3, 2)
    x = builder.same(builder.neuron(builder.convolve("image", 140)), 150)
    weight = builder.arrays[builder.nodes[-1].input[1]]
    weight[:9] = 1 + np.abs(weight[:9])
    y = builder.same(builder.neuron(x), 150, groups=150)
    x = builder.add("Add", [x, y], builder.shapes[x])
    x = builder.add("Add", [x, builder.convolve(builder.neuron(x), 150)], builder.shapes[x])
    x = builder.add("Add", [x, builder.same(builder.neuron(x), 150, groups=2)], builder.shapes[x])
    output = builder.classified(builder.neuron(builder.pooled(x)))
    samples = images(np.random.default_rng(1), 1, (2, 3, 2))
    case = IntegerCase(builder.model((2, 3, 2), output), samples, arithmetic, None, ())
    graph = case.lowered()
    made = {n.output.dtype for n in graph.select("event_conv2d") if n.output.channels > 128}
    assert dtype in made
    check_equivalence(graph, samples)


class RisingBuilder(FixedBuilder):
    """Weights and biases of one sign: the largest input gives the largest sum."""

    sign = 1.0
    """Times magnitude."""

    def constant(self, values: NDArray[Any]) -> str:
        return super().constant(self.sign * np.abs(values))


@pytest.mark.parametrize("arithmetic", ["int8", "int16"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("groups", [1, 2])
def test_bounds_are_reached(arithmetic: Any, sign: float, groups: int) -> None:
    """Counts that are all D take every layer to the end of its interval, not nearly so."""
    builder = RisingBuilder(np.random.default_rng(3), 5, 1.0, "half_even")
    builder.shapes["image"] = (2, 6, 7)
    fired = builder.neuron(builder.convolve("image", 4, (3, 3)))
    builder.sign = 1e3
    attended = builder.attention(fired, 2, scores_first=True)
    builder.sign = sign
    conv = builder.convolve(fired, 6, (2, 3), stride=(2, 1), groups=groups)
    outputs = [attended, conv, builder.pooled(conv)]
    if sign > 0:
        outputs.append(builder.classified(builder.pooled(conv)))
    samples = np.full((1, 2, 6, 7), 1e6, np.float32)
    case = IntegerCase(builder.model((2, 6, 7), *outputs), samples, arithmetic, None, ())
    graph = case.lowered()
    values, bounds = evaluated(graph, samples[0]), intervals(graph)
    checked = [node for node in graph.nodes if node.op in REACHING]
    assert len(checked) >= 8
    for node in checked:
        rows = values[node.name].reshape(node.output.channels, -1)
        rising = node.op == "attention" or bounds[node.name].high.min() > 0
        end = bounds[node.name].high if rising else bounds[node.name].low
        assert ((rows.max(1) if rising else rows.min(1)) == end).all(), node.name
    check_equivalence(graph, samples)


REACHING = ("digitise", "conv2d", "event_conv2d", "linear", "sum_pool", "attention")
