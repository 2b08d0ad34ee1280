"""Whether the spikes are the deployed network: every count and every output bit, no tolerance.

Weights are integers on grids; the artefact also holds the same network as float ONNX, written so
that no sum in it is ever rounded. ONNX Runtime runs that, the simulator runs the spikes, and one
difference is a bug. Beside it stands what deployment cost: counts, outputs and classes that are not
the float network's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph
from s2f_deploy.passes.pipeline import float_network
from s2f_sim.certificate import (
    Certificate,
    SampleDigest,
    digest_of_bytes,
    digest_of_graph,
    digest_of_sample,
)
from s2f_sim.deployed_reference import DeployedReference, DeployedResult
from s2f_sim.deployed_report import (
    DeployedReport,
    DeployedTally,
    LayerComparison,
    OutputComparison,
)
from s2f_sim.float_reference import FloatReference, FloatResult, check_same
from s2f_sim.run import Run
from s2f_sim.simulator import EngineName, Simulator


def verify_deployed(
    graph: Graph, samples: Iterable[NDArray[np.float32]], engine: EngineName, threads: int | None
) -> DeployedReport:
    """Compare an event graph of integer weights with the deployed and the float network in it.

    Args:
        graph: at EVENT level, with its reference and its deployed form.
        samples: float32[C, H, W] each.
        engine: the simulator's engine to verify.
        threads: of the simulator and of ONNX Runtime; their own defaults if None.

    Raises:
        ArtefactError: a stored network is damaged or another one.
    """
    deployed = DeployedReference(graph, threads)
    network = float_network(graph.reference, graph.name)
    check_same(network, graph)
    trained = FloatReference(network, threads)
    simulator = Simulator(graph, engine, threads)
    tally = DeployedTally.empty(graph)
    digests: list[SampleDigest] = []
    for sample in samples:
        run = simulator.run(sample[None])
        # One network's counts at a time: they take more memory than all weights.
        given = _compare(tally, run, deployed.run(sample))
        _compare_trained(tally, run, given, trained.run(sample))
        digests.append(digest_of_sample(sample, _first(run.counts), _first(run.outputs)))
    layers = tuple(LayerComparison(name, **asdict(t)) for name, t in tally.layers.items())
    outputs = tuple(OutputComparison(name, **asdict(t)) for name, t in tally.outputs.items())
    certificate = Certificate(
        network=graph.name,
        graph=digest_of_graph(graph),
        deployed=digest_of_bytes(graph.deployed),
        reference=digest_of_bytes(graph.reference),
        runtime=deployed.runtime,
        engine=engine,
        neurons=sum(layer.neurons for layer in layers),
        equivalent=not tally.mismatches,
        samples=tuple(digests),
    )
    return DeployedReport(
        graph.name,
        engine,
        deployed.runtime,
        len(digests),
        deployed.wide_layers,
        layers,
        outputs,
        certificate,
    )


def _compare(
    tally: DeployedTally, run: Run, deployed: DeployedResult
) -> Mapping[str, NDArray[Any]]:
    """Counts of the spikes and the deployed network; returns the latter's outputs."""
    for name, layer in tally.layers.items():
        layer.compare(run.counts[name][0], deployed.counts[name], deployed.margins(name))
    return deployed.outputs


def _compare_trained(
    tally: DeployedTally, run: Run, outputs: Mapping[str, NDArray[Any]], trained: FloatResult
) -> None:
    """Counts of the float network, and the outputs of all three."""
    for name, layer in tally.layers.items():
        layer.compare_trained(run.counts[name][0], trained.counts[name])
    for name, output in tally.outputs.items():
        output.compare(run.outputs[name][0], outputs[name], trained.outputs[name])


def _first(values: Any) -> dict[str, NDArray[Any]]:
    return {name: value[0] for name, value in values.items()}
