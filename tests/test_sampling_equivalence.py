"""Reading between pixels: spikes, dense integers and ONNX Runtime agree on every bit."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deployed_runs import differences, run_deployed, run_replayed
from exact_integers import evaluated
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from integer_builder import ExtremeBuilder, IntegerBuilder
from integer_networks import IntegerCase, images
from networks import NetworkBuilder
from numpy.typing import NDArray
from torch import Tensor, nn

import s2f_deploy
import s2f_sim
import s2f_sim.workers
from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.bounds import intervals
from s2f_deploy.ir.graph import DType, Graph
from s2f_deploy.ir.verify import verify as check
from s2f_deploy.passes.pipeline import lower_content
from s2f_models.deformable_sampling import DeformableSample
from s2f_models.neuron import IntegerFire
from s2f_sim import Simulator
from s2f_sim.inspection import inspect_graph
from s2f_sim.verify_report import VerifyReport

DRAWS = int(os.environ.get("S2F_DRAWS", "480")) // 8

Block = Callable[[st.DrawFn, NetworkBuilder, str], str]


def sampled(draw: st.DrawFn, made: NetworkBuilder, fired: str, bits: int) -> str:
    """A deformable sampling of convolutions of ``fired``, [C, H, W] as that is."""
    channels = made.shapes[fired][0]
    groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
    taps = groups * draw(st.integers(1, 2)) ** 2
    image, offsets = (made.conv(fired, n, 3, 1, 1, 1) for n in (channels, 2 * taps))
    if draw(st.booleans()):
        offsets = made.add(
            "Add", [offsets, made.conv(fired, 2 * taps, 1, 1, 0, 1)], made.shapes[offsets]
        )
    attention = made.neuron(made.conv(fired, taps, 1, 1, 0, 1))
    return made.sampled(image, offsets, attention, groups, bits)


def pyramid(draw: st.DrawFn, made: NetworkBuilder, fired: str, bits: int) -> str:
    """What a coarse map samples, enlarged, and a lateral convolution."""
    width = made.shapes[fired][0]
    _, height, columns = made.shapes[fired]
    coarse = made.neuron(made.conv(fired, width, 2, 2, (height | columns) % 2, 1))
    small = made.conv(made.neuron(sampled(draw, made, coarse, bits)), 3, 1, 1, 0, 1)
    large = made.interpolated(small)
    if made.shapes[large][1:] != (height, columns):
        return large
    return made.add("Add", [made.conv(fired, 3, 1, 1, 0, 1), large], made.shapes[large])


def refined(_: st.DrawFn, made: NetworkBuilder, fired: str, bits: int) -> str:
    """Enlarged membranes, sampled where enlarged membranes say, with pooled attention."""
    channels = made.shapes[fired][0]
    image = made.interpolated(made.conv(fired, channels, 1, 1, 0, 1))
    offsets = made.interpolated(made.conv(fired, 2, 1, 1, 0, 1))
    attention = made.neuron(made.interpolated(made.conv(fired, 1, 1, 1, 0, 1)))
    pooled = made.max_pooled(attention, 3, 1, 1)
    return made.sampled(image, offsets, pooled, 1, bits)


def twice(draw: st.DrawFn, made: NetworkBuilder, fired: str, bits: int) -> str:
    """Samples, scaled and added to another's."""
    first, second = (sampled(draw, made, fired, bits) for _ in range(2))
    scale = f"w{len(made.arrays)}"
    made.arrays[scale] = np.full((1, 1, 1), -0.5, np.float32)
    scaled = made.add("Mul", [first, scale], made.shapes[first])
    return made.add("Add", [second, scaled], made.shapes[first])


KINDS: Mapping[str, Callable[[st.DrawFn, NetworkBuilder, str, int], str]] = {
    "sampled": sampled,
    "pyramid": pyramid,
    "refined": refined,
    "twice": twice,
}


def network(draw: st.DrawFn, made: NetworkBuilder, bits: int) -> tuple[tuple[int, ...], list[str]]:
    """An image, and outputs: currents between pixels or what a neuron makes of them."""
    image = draw(st.tuples(st.integers(1, 2), st.integers(2, 5), st.integers(2, 5)))
    made.shapes["image"] = image
    fired = made.neuron(made.conv("image", draw(st.sampled_from([2, 6])), 3, 1, 1, 1))
    kind = draw(st.sampled_from(sorted(KINDS)))
    current = KINDS[kind](draw, made, fired, bits)
    outputs = [made.conv(made.neuron(current), 2, 1, 1, 0, 1)]
    if draw(st.booleans()):
        outputs.append(current)
    if draw(st.booleans()):
        outputs.append(made.interpolated(outputs[0]))
    return image, outputs


@st.composite
def exact_networks(draw: st.DrawFn) -> tuple[bytes, NDArray[np.float32], list[str]]:
    """Weights and images of few bits: float32 rounds nothing."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    made = NetworkBuilder(
        rng, draw(st.integers(1, 4)), draw(st.sampled_from([1.0, 2.0])), "half_even"
    )
    image, outputs = network(draw, made, draw(st.integers(1, 2)))
    pixels = (rng.integers(-12, 13, (1, *image)) / 8).astype(np.float32)
    return made.model(image, *outputs), pixels, outputs


@settings(max_examples=DRAWS)
@given(exact_networks())
def test_spikes_are_what_onnx_runtime_computes(
    case: tuple[bytes, NDArray[np.float32], list[str]],
) -> None:
    content, pixels, outputs = case
    graph = lower_content(content, "net")
    session = onnxruntime.InferenceSession(content)
    wanted = dict(zip(outputs, session.run(outputs, {"image": pixels}), strict=True))
    runs = [
        Simulator(graph, "events", threads=1).run(pixels),
        Simulator(graph, "reference").run(pixels),
    ]
    for run in runs:
        for name, values in wanted.items():
            np.testing.assert_array_equal(run.outputs[name], values)
    assert runs[0].layers == runs[1].layers


@st.composite
def integer_cases(draw: st.DrawFn) -> IntegerCase:
    """Arbitrary weights, norms and magnitudes, or the same weight everywhere."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    extreme = draw(st.integers(0, 4)) == 0
    build = ExtremeBuilder if extreme else IntegerBuilder
    made = build(rng, draw(st.sampled_from([1, 4, 15])), 1.0, "half_even")
    image, outputs = network(draw, made, draw(st.sampled_from([1, 4, 8, 12])))
    return IntegerCase(
        made.model(image, *outputs),
        images(rng, 2, image),
        draw(st.sampled_from(["int8", "int16"])),
        images(rng, 2, image) if draw(st.booleans()) else None,
        (),
    )


def lowered(case: IntegerCase) -> Graph:
    try:
        return case.lowered()
    except UnsupportedPatternError as refused:
        if "53 bits do not hold" not in str(refused):
            raise
        reject()


@settings(
    max_examples=DRAWS, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)
@given(integer_cases())
def test_integers_are_the_same_in_spikes_and_in_floats(case: IntegerCase) -> None:
    graph = lowered(case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s2f_sim.workers, "WORTHWHILE_NS", 0)
        runs = [Simulator(graph, "events", threads=n).run(case.samples) for n in (1, 2)]
        runs.append(run_replayed(graph, case.samples, threads=2))
    runs.append(Simulator(graph, "reference").run(case.samples))
    for optimised, neurons in ((False, True), (True, True), (True, False)):
        deployed = run_deployed(graph, case.samples, optimised=optimised, neurons=neurons)
        for run in runs:
            assert differences(run, deployed) == []
    assert all(run.layers == runs[0].layers for run in runs)
    exact, bounds = evaluated(graph, case.samples[0]), intervals(graph)
    for node in graph.nodes:
        if node.output.dtype is not DType.FLOAT32:
            rows = exact[node.name].reshape(node.output.channels, -1)
            assert (bounds[node.name].low <= rows.min(1)).all()
            assert (rows.max(1) <= bounds[node.name].high).all()
    for name, counts in runs[0].counts.items():
        assert np.array_equal(counts[0], exact[name].astype(np.uint8))


class Sampler(nn.Module):
    """Convolutions, sampling, twofold upsampling and neurons."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem, self.down = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, 1)
        self.image, self.offsets = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 36, 1)
        self.attention, self.last = nn.Conv2d(8, 18, 1), nn.Conv2d(8, 4, 1)
        self.lateral, self.head = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 2, 1)
        self.fire = nn.ModuleList([IntegerFire(4, 4) for _ in range(5)])
        self.sampler = DeformableSample(2, 3, bits)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fire[0](2 * self.stem(x))
        coarse = self.fire[1](6 * self.down(fine))
        offsets = (4 * self.offsets(coarse)).permute(0, 2, 3, 1)
        attention = self.fire[2](6 * self.attention(coarse)).permute(0, 2, 3, 1)
        seen = self.fire[3](self.sampler(3 * self.image(coarse), offsets, attention))
        large = nn.functional.interpolate(self.last(seen), fine.shape[2:], mode="bilinear")
        result: Tensor = self.head(self.fire[4](3 * large + self.lateral(fine)))
        return result


def exported(bits: int, folder: Path) -> Path:
    path = folder / f"sampler{bits}.onnx"
    s2f_deploy.export_onnx(Sampler(bits), (1, 3, 12, 16), path)
    return path


@pytest.fixture
def samples() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((3, 3, 12, 16)).astype(np.float32) * 2


@pytest.mark.parametrize("bits", [0, 3, 8])
def test_a_module_as_trained_is_verified_and_counted(
    bits: int, tmp_path: Path, samples: NDArray[np.float32]
) -> None:
    graph = s2f_deploy.lower(exported(bits, tmp_path))
    report = s2f_sim.verify(graph, samples)
    assert report.equivalent
    assert isinstance(report, VerifyReport)
    assert all(np.isfinite(layer.spike_bound) for layer in report.layers)
    run = s2f_sim.simulate(graph, samples)
    (layer,) = [one for one in run.layers if one.name == "sampler"]
    assert layer.kind == ("dyadic_sampling" if bits else "exact_sampling")
    assert layer.dense_mac == 3 * 4 * 9 * 8 * 6 * 8
    assert (layer.mac == 0, layer.ac == 0) == (bits > 0, bits == 0)
    assert 0 < max(layer.mac, layer.spikes) < layer.dense_mac
    bill = s2f_sim.energy(run)
    (priced,) = [one for one in bill.layers if one.name == "sampler"]
    operations = layer.ac * 0.9 if bits else layer.mac * 4.6
    assert priced.energy_events_pj == pytest.approx(operations / 3)
    (inspected,) = [one for one in inspect_graph(graph).layers if one.name == "sampler"]
    assert inspected.kernel == (f"dyadic {bits}" if bits else "exact")


@pytest.mark.parametrize("arithmetic", ["int8", "int16"])
def test_a_module_in_integers_is_its_deployed_network(
    arithmetic: Any, tmp_path: Path, samples: NDArray[np.float32]
) -> None:
    graph = s2f_deploy.lower(exported(8, tmp_path), arithmetic, calibration=samples)
    report = s2f_sim.verify(graph, samples)
    assert report.equivalent
    path = tmp_path / "sampler.s2f"
    s2f_deploy.save(graph, path)
    loaded = s2f_deploy.load(path)
    runs = [s2f_sim.simulate(one, samples) for one in (graph, loaded)]
    assert runs[0].layers == runs[1].layers
    assert [one.kernel for one in inspect_graph(loaded).layers if one.name == "sampler"] == [
        "dyadic 8"
    ]
    counts = [values.max() for values in runs[0].counts.values()]
    assert min(counts) > 0


def test_fewer_bits_change_more(tmp_path: Path, samples: NDArray[np.float32]) -> None:
    """Against offsets as they are, in the neuron behind the first sampling."""
    graphs = {bits: s2f_deploy.lower(exported(bits, tmp_path)) for bits in (0, 2, 10)}
    fired = {
        bits: s2f_sim.simulate(graph, samples).counts["fire.3"] for bits, graph in graphs.items()
    }
    changed = {bits: int((fired[bits] != fired[0]).sum()) for bits in (2, 10)}
    assert changed[2] > 4 * changed[10]


def test_a_graph_whose_sampling_reads_no_spikes_is_illegal(tmp_path: Path) -> None:
    graph = s2f_deploy.lower(exported(3, tmp_path))
    node = graph.node("sampler")
    membranes = replace(node, inputs=(node.inputs[0], node.inputs[1], "attention"))
    nodes = graph.by_name() | {"sampler": membranes}
    with pytest.raises(s2f_deploy.S2FError, match="needs membranes, read by spikes"):
        check(graph.rebuilt(nodes))


def test_the_exported_function_is_in_no_deployed_network(tmp_path: Path) -> None:
    graph = s2f_deploy.lower(exported(8, tmp_path), "int8")
    model = onnx.load_from_string(graph.deployed)
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    wide = s2f_sim.verify(graph, np.zeros((1, 3, 12, 16), np.float32))
    assert "sampler" in getattr(wide, "wide_layers", ())
