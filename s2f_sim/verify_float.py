"""Whether the spikes compute what the float network computes: count by count, with a proof.

Two floating point programs that add in different orders may differ where a membrane lies next to
a comparator. Each layer is therefore fed the float network's own counts, and a differing count is
*explained* only if both counts are possible for the exact membrane within the rigorous rounding
bounds of `error_bounds`; anything else is a failure.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node
from s2f_deploy.ops.neuron import round_counts
from s2f_deploy.passes.pipeline import float_network
from s2f_sim.error_bounds import reference_bound, spike_bound, trace
from s2f_sim.float_reference import FloatReference, FloatResult, check_same
from s2f_sim.run import Run
from s2f_sim.simulator import EngineName, Simulator
from s2f_sim.spike_roundings import spike_roundings
from s2f_sim.traced import Traced
from s2f_sim.verify_report import Tally, VerifyReport, VerifyTally

HOST_TOLERANCE = 1e-4
"""Allowed relative difference of outputs behind a host tail, which no bound reaches."""


def verify_float(
    graph: Graph, samples: Iterable[NDArray[np.float32]], engine: EngineName, threads: int | None
) -> VerifyReport:
    """Compare an event graph of float32 weights with the float network stored in it.

    Args:
        graph: at EVENT level, with its reference.
        samples: float32[C, H, W] each.
        engine: the simulator's engine to verify.
        threads: of the simulator and of ONNX Runtime; their own defaults if None.

    Raises:
        ArtefactError: the stored float network is damaged or another one.
    """
    network = float_network(graph.reference, graph.name)
    check_same(network, graph)
    reference = FloatReference(network, threads)
    simulator = Simulator(graph, engine, threads)
    tally = VerifyTally.empty(network)
    done = 0
    for sample in samples:
        expected = reference.run(sample)
        _compare_end_to_end(tally, expected, simulator.run(sample[None]))
        forced = {name: counts[None] for name, counts in expected.counts.items()}
        fed = simulator.run(sample[None], forced=forced)
        _compare_fed(tally, network, graph, sample, expected, fed)
        done += 1
    return tally.report(graph.name, engine, done)


def _compare_end_to_end(tally: VerifyTally, expected: FloatResult, run: Run) -> None:
    """Count the layers that differ when nothing is fed in, and compare the answers."""
    diverging = []
    for name, counts in expected.counts.items():
        differing = int(np.count_nonzero(run.counts[name][0] != counts))
        tally.layers[name].end_to_end_mismatches += differing
        if differing:
            diverging.append(name)
    tally.diverging_samples += bool(diverging)
    tally.diverge_first.update(diverging[:1])
    for name, values in expected.outputs.items():
        computed = run.outputs[name][0].reshape(values.shape)
        tally.outputs[name].compare_end_to_end(values, computed)


def _compare_fed(
    tally: VerifyTally,
    network: Graph,
    graph: Graph,
    sample: NDArray[np.float32],
    expected: FloatResult,
    fed: Run,
) -> None:
    """Compare every layer fed the float network's counts."""
    roundings = spike_roundings(graph, expected.counts)
    for node, membrane in trace(network, sample, expected.counts, roundings):
        bounds = (
            reference_bound(node, membrane),
            spike_bound(node, membrane, roundings[node.name]),
        )
        if node.op == "integer_fire":
            counts = (expected.counts[node.name], fed.counts[node.name][0])
            _compare_counts(tally.layers[node.name], node, membrane, counts, bounds)
        else:
            values = expected.outputs[node.name]
            computed = fed.outputs[node.name][0].reshape(values.shape)
            allowed = bounds[0] + bounds[1]
            tally.outputs[node.name].compare_fed(values, computed, allowed, HOST_TOLERANCE)


def _compare_counts(
    tally: Tally,
    node: Node,
    membrane: Traced,
    counts: tuple[NDArray[Any], NDArray[Any]],
    bounds: tuple[NDArray[Any], NDArray[Any]],
) -> None:
    tally.neurons += counts[0].size
    tally.reference_bound = max(tally.reference_bound, float(bounds[0].max()))
    tally.spike_bound = max(tally.spike_bound, float(bounds[1].max()))
    differing = counts[0] != counts[1]
    if node.output.steps > 1:
        # What a neuron fired stays in its membrane: later counts differ because this one does.
        differing[1:] &= ~np.maximum.accumulate(differing, 0)[:-1]
    if not differing.any():
        return
    exact = membrane.value[differing]
    possible = np.ones(exact.shape, bool)
    margin = np.zeros(exact.shape)
    for count, bound in zip(counts, bounds, strict=True):
        within, used = _margins(node, exact, count[differing], bound[differing])
        possible &= within
        margin = np.maximum(margin, used)
    tally.mismatches += len(exact)
    tally.explained += int(np.count_nonzero(possible))
    tally.worst_margin = max(tally.worst_margin, float(margin.max()))


def _margins(
    node: Node, exact: NDArray[Any], count: NDArray[Any], bound: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Whether a membrane within its bound gives a count, and how much of the bound that takes.

    Rounding is monotone: the counts that [u − B, u + B] can give are those between its ends'.
    """
    levels, rounding = node["levels"], node["rounding"]
    low, high = (round_counts(exact + sign * bound, levels, rounding) for sign in (-1, 1))
    possible = (low <= count) & (count <= high)
    above = np.where(count > 0, count - 0.5 - exact, 0.0)
    below = np.where(count < levels, exact - count - 0.5, 0.0)
    distance = np.maximum(np.maximum(above, below), 0.0)
    unbounded = np.where(possible, 0.0, np.inf)
    used = np.divide(distance, bound, out=unbounded, where=bound > 0)
    return possible, used
