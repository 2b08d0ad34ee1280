"""Several real timesteps: spikes, Python's integers and ONNX Runtime agree on every bit."""

import os
from typing import Any

from deployed_runs import DeployedRun, differences, run_deployed, run_replayed
from hypothesis import given, settings
from integer_networks import IntegerCase
from numpy.typing import NDArray
from real_time_networks import timed_networks
from test_integer_equivalence import SLOW, check_accumulators, lowered

from s2f_deploy.ir.graph import Graph
from s2f_deploy.ir.text import parse_graph, print_graph
from s2f_sim.counting import Counter
from s2f_sim.engine import Walk
from s2f_sim.reference import ReferenceEngine
from s2f_sim.run import Run
from s2f_sim.simulator import Simulator

DRAWS = int(os.environ.get("S2F_DRAWS", "480")) // 8
LEVELS = 15


def walked(graph: Graph, sample: NDArray[Any]) -> Run:
    """One sample by the dense reference."""
    walk = Walk(graph, ReferenceEngine(graph), LEVELS)
    walk.run(sample, {})
    outputs = {name: value[None] for name, value in walk.outputs.items()}
    counts = {name: value[None] for name, value in walk.counts.items()}
    work = Counter(graph).work(LEVELS)
    work.add(walk.spikes, walk.sampled, walk.sums, walk.reached)
    return Run(outputs, counts, work.layers(), LEVELS, LEVELS, 1, 1, "reference", 0.0)


@settings(max_examples=DRAWS, suppress_health_check=SLOW)
@given(timed_networks())
def test_any_network_is_the_same_in_spikes_and_in_floats(case: IntegerCase) -> None:
    graph = lowered(case)
    assert parse_graph(print_graph(graph)).nodes == graph.nodes
    for sample in case.samples:
        run = walked(graph, sample)
        for optimised in (False, True):
            deployed = run_deployed(graph, sample[None], optimised=optimised)
            assert differences(run, deployed) == []
        by_events = Simulator(graph, "events", 1).run(sample[None], LEVELS)
        replayed = run_replayed(graph, sample[None], 1, LEVELS)
        for found in (by_events, replayed):
            assert differences(found, DeployedRun(dict(run.counts), dict(run.outputs))) == []
            assert found.layers == run.layers
        if not any(graph.select("host")):
            check_accumulators(graph, sample)
