"""ONNX Runtime on the deployed network, and whether a simulation computed the same."""

import copy
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

import s2f_sim.recording
from s2f_deploy.ir.graph import Graph
from s2f_sim import Run, Simulator

Values = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class DeployedRun:
    """Neurons' counts and outputs by name, batch axis in front."""

    counts: Values
    outputs: Values


def session(model: onnx.ModelProto, *, optimised: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    )
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def deployed_tensors(
    graph: Graph, samples: NDArray[np.float32], inner: list[str], *, optimised: bool
) -> Values:
    """The outputs and some ``inner`` tensors, which no runtime can fuse away then.

    Samples are run at once, but for networks that end on the host.
    """
    model = onnx.load_from_string(graph.deployed)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    image = next(graph.select("input")).name
    runtime = session(model, optimised=optimised)
    names = [value.name for value in model.graph.output]
    batches = np.split(samples, len(samples)) if any(graph.select("host")) else [samples]
    parts = [runtime.run(names, {f"{image}.image": batch}) for batch in batches]
    joined = [np.concatenate(values) for values in zip(*parts, strict=True)]
    return dict(zip(names, joined, strict=True))


def run_deployed(
    graph: Graph, samples: NDArray[np.float32], *, optimised: bool, neurons: bool = True
) -> DeployedRun:
    """Counts, unless without ``neurons``, and outputs."""
    fired = [node.name for node in graph.select("integrate_fire")] if neurons else []
    named = deployed_tensors(graph, samples, fired, optimised=optimised)
    outputs = [node.name for node in graph.select("output")]
    return DeployedRun({n: named[n] for n in fired}, {n: named[n] for n in outputs})


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Whether two float32 arrays of as many elements are equal bit for bit."""
    first, second = (np.ascontiguousarray(x, np.float32).ravel().view(np.uint32) for x in (a, b))
    return np.array_equal(first, second)


def differences(run: Run, deployed: DeployedRun) -> list[str]:
    """Names of the neurons and outputs in which a simulation differs, counts or bits."""
    counts = [
        name
        for name, want in deployed.counts.items()
        if not np.array_equal(run.counts[name].ravel(), want.ravel())
    ]
    outputs = [
        name for name, want in deployed.outputs.items() if not same_bits(run.outputs[name], want)
    ]
    return counts + outputs


def equivalent(graph: Graph, samples: NDArray[np.float32]) -> bool:
    """Whether the spikes compute what ONNX Runtime does of the deployed network in the graph."""
    run = Simulator(graph, threads=1).run(samples)
    return not differences(run, run_deployed(graph, samples, optimised=True))


def run_replayed(
    graph: Graph, samples: NDArray[np.float32], threads: int, timesteps: int | None = None
) -> Run:
    """A run of calls that were written down for another sample; results of before stay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s2f_sim.recording, "WALKS_BEFORE", 0)
        simulator = Simulator(graph, "events", threads)
        others = samples[-1], samples[0], -samples[-1]
        before = [simulator.run(other[None], timesteps) for other in others]
        kept = copy.deepcopy([(run.counts, run.outputs) for run in before])
        run = simulator.run(samples, timesteps)
    for (counts, outputs), one in zip(kept, before, strict=True):
        assert all(np.array_equal(one.counts[name], counts[name]) for name in counts)
        assert all(same_bits(one.outputs[name], outputs[name]) for name in outputs)
    return run
