"""The product's promise on random networks: spikes, dense reference and ONNX Runtime agree."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from deployed_runs import run_replayed
from hypothesis import given, settings
from networks import RandomNetwork, networks
from numpy.typing import NDArray

from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.frontend.integer_fire import DOMAIN
from s2f_deploy.ir.graph import Graph
from s2f_deploy.passes.pipeline import EVENT_PASSES, run_passes
from s2f_sim import Simulator
from s2f_sim.shown_counts import shown_counts

Values = dict[str, NDArray[Any]]


def float_values(network: RandomNetwork) -> tuple[Values, Values]:
    """Outputs and every neuron's integers, by ONNX Runtime."""
    model = onnx.load_from_string(network.onnx)
    norms = {}
    outputs = [info.name for info in model.graph.output]
    for node in model.graph.node:
        if node.domain == DOMAIN:
            norms[node.name] = next(a.f for a in node.attribute if a.name == "norm")
            model.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    values = session.run(None, {"image": network.image})
    fired = values[len(outputs) :]
    counts = {name: value * norm for (name, norm), value in zip(norms.items(), fired, strict=True)}
    return dict(zip(outputs, values, strict=False)), counts


def lowered(network: RandomNetwork) -> Graph:
    return run_passes(import_onnx(network.onnx, "net"), EVENT_PASSES)


@settings(max_examples=120)
@given(networks())
def test_events_reference_and_onnx_runtime_agree_on_every_bit(network: RandomNetwork) -> None:
    graph = lowered(network)
    outputs, counts = float_values(network)
    runs = [
        Simulator(graph, "events", threads=2).run(network.image),
        run_replayed(graph, network.image, threads=1),
        Simulator(graph, "reference").run(network.image),
    ]
    for run in runs:
        assert run.outputs.keys() == outputs.keys()
        for name, simulated in run.outputs.items():
            np.testing.assert_array_equal(simulated, outputs[name], name)
        shown = shown_counts(graph, {name: counts[0] for name, counts in run.counts.items()})
        # A neuron that reaches no output is in no graph.
        for name in counts.keys() & shown.keys():
            want = counts[name]
            np.testing.assert_array_equal(shown[name], want.reshape(shown[name].shape), name)
    assert runs[0].layers == runs[1].layers == runs[2].layers


@settings(max_examples=40)
@given(networks())
def test_fewer_timesteps_carry_the_first_spikes(network: RandomNetwork) -> None:
    graph = lowered(network)
    first = next(graph.select("integrate_fire")).name
    simulator = Simulator(graph, threads=1)
    exact = simulator.run(network.image)
    for timesteps in range(1, exact.levels + 2):
        run = simulator.run(network.image, timesteps)
        want = np.minimum(exact.counts[first], timesteps)
        np.testing.assert_array_equal(run.counts[first], want)
        assert run.exact == (timesteps >= exact.levels)
        layer = next(layer for layer in run.layers if layer.name == first)
        spikes = [int((want >= d).sum()) for d in range(1, timesteps + 1)]
        assert list(layer.spikes_by_timestep) == spikes
        assert sum(spikes) == want.sum(dtype=int)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_counted_accumulations_are_those_a_loop_does(stride: int, kernel: int, groups: int) -> None:
    from networks import NetworkBuilder  # noqa: PLC0415

    builder = NetworkBuilder(np.random.default_rng(kernel), 3, 1.0, "half_even")
    builder.shapes["image"] = (2, 5, 6)
    x = builder.conv("image", 4, 3, 1, 1, 1)
    fired = builder.neuron(x)
    output = builder.conv(fired, 8, kernel, stride, 1, groups)
    pixels = np.random.default_rng(1).integers(-16, 17, (1, 2, 5, 6))
    image = (pixels / 8).astype(np.float32)
    graph = run_passes(import_onnx(builder.model((2, 5, 6), output), "net"), EVENT_PASSES)
    run = Simulator(graph).run(image)
    (counts,) = run.counts.values()
    layer = next(layer for layer in run.layers if layer.kind == "synapse")
    _, height, width = builder.shapes[output]
    additions = [0] * run.timesteps
    for oy, ox, ky, kx in np.ndindex(height, width, kernel, kernel):
        y, x_ = oy * stride + ky - 1, ox * stride + kx - 1
        if 0 <= y < 5 and 0 <= x_ < 6:
            for c in range(4):
                for d in range(counts[0, c, y, x_]):
                    additions[d] += 8 // groups
    assert list(layer.ac_by_timestep) == additions
    assert layer.ac == sum(additions) > 0
    encoding = next(layer for layer in run.layers if layer.kind == "encoding")
    assert (encoding.mac, encoding.ac) == (encoding.dense_mac, 0)


def test_golden_artefact_runs_alike(tiny_artefact: Path, images: NDArray[Any]) -> None:
    import s2f_deploy  # noqa: PLC0415

    graph = s2f_deploy.load(tiny_artefact)
    events, reference = (Simulator(graph, e).run(images) for e in ("events", "reference"))
    assert events.layers == reference.layers
    np.testing.assert_allclose(
        events.outputs["logits"], reference.outputs["logits"], rtol=1e-5, atol=1e-5
    )
