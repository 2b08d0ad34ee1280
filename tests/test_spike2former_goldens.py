"""Reference runs of the official Spike2Former code, lowered: their counts come out of events."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import golden_image
from spike2former_cases import GoldenCase, differing, golden_cases
from spike2former_golden import FOLDER, read_record
from torch import Tensor, nn

import s2f_deploy
from s2f_deploy import Graph
from s2f_models import IntegerFire
from s2f_models.deformable_sampling import DeformableSample
from s2f_sim import Run, Simulator, verify
from s2f_sim.shown_counts import shown_counts


def lowered(model: nn.Module, shape: Sequence[int], folder: Path) -> Graph:
    path = folder / "net.onnx"
    s2f_deploy.export_onnx(model.float(), tuple(shape), path)
    return s2f_deploy.lower(path)


def run_case(graph: Graph, case: GoldenCase) -> Run:
    """Simulate, and find nothing that differs."""
    run = Simulator(graph, threads=1).run(case.sample.numpy().astype(np.float32))
    shown = shown_counts(graph, {name: counts[0] for name, counts in run.counts.items()})
    assert differing(shown, case.counts) == {}
    return run


@pytest.mark.parametrize("golden", ["v2_d4", "v3_d8"])
def test_every_count_is_the_official_codes(golden: str, tmp_path: Path) -> None:
    """Float32 rounds no count of these networks to another; sampling is exact."""
    (case,) = golden_cases(golden, read_record(golden))
    graph = lowered(case.model, case.sample.shape, tmp_path)
    assert len(case.counts) == len(read_record(golden)["neurons"])
    run_case(graph, case)
    report = verify(graph, [case.sample.numpy().astype(np.float32)])
    assert report.equivalent
    assert not report.mismatches


@pytest.mark.parametrize("golden", ["sdda", "encoder_layer", "decoder_layer"])
def test_every_count_of_a_module_is_the_official_codes(golden: str, tmp_path: Path) -> None:
    cases = golden_cases(golden, read_record(golden))
    assert len(cases) == 2
    graphs: dict[nn.Module, Graph] = {}
    for case in cases:
        with torch.inference_mode():
            wanted = case.model.double()(case.sample.double())
        if case.model not in graphs:
            graphs[case.model] = lowered(case.model, case.sample.shape, tmp_path)
        (output,) = run_case(graphs[case.model], case).outputs.values()
        np.testing.assert_allclose(output.ravel(), wanted.numpy().ravel(), rtol=0, atol=1e-6)


class Sampling(nn.Module):
    """The sampler alone: what is sampled, offsets and attention, one behind the other."""

    def __init__(self, widths: tuple[int, int, int], groups: int, levels: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList()
        before, whole = 0, sum(widths)
        for width in widths:
            part = nn.Conv2d(whole, width, 1, bias=False)
            part.weight = nn.Parameter(torch.eye(whole)[before : before + width, :, None, None])
            self.parts.append(part)
            before += width
        self.fire = IntegerFire(levels, levels)
        self.sampler = DeformableSample(groups, 3, 0)

    def forward(self, packed: Tensor) -> Tensor:
        """float[1, C + 18G + 9G, H, W] -> float[1, C, H, W]."""
        x, offsets, attention = (part(packed) for part in self.parts)
        fired = self.fire(attention.permute(0, 2, 3, 1))
        result: Tensor = self.sampler(x, offsets.permute(0, 2, 3, 1), fired)
        return result


def test_sampler_is_the_official_codes(tmp_path: Path) -> None:
    with np.load(FOLDER / "dcnv3_core.npz") as arrays:
        planes = {name: arrays[name].transpose(0, 3, 1, 2) for name in arrays.files}
    sampled = golden_image((2, 24, 5, 8))
    packed = np.concatenate([sampled, planes["offset"], planes["mask_int"]], 1)
    model = Sampling((24, 72, 36), 4, 8)
    graph = lowered(model, (1, *packed.shape[1:]), tmp_path)
    for x, counts, wanted in zip(packed, planes["mask_int"], planes["output"], strict=True):
        run = Simulator(graph, threads=1).run(x[None].astype(np.float32))
        (fired,) = run.counts.values()
        np.testing.assert_array_equal(fired[0], counts)
        (output,) = run.outputs.values()
        np.testing.assert_allclose(output[0], wanted, rtol=0, atol=1e-5)


class Neurons(nn.Module):
    """Neurons of several D and norms on the same membranes, weighed and added."""

    def __init__(self, kinds: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.fire = nn.ModuleList([IntegerFire(levels, norm) for levels, norm in kinds])
        self.weigh = nn.ModuleList([nn.Conv2d(1, 1, 1) for _ in kinds])

    def forward(self, x: Tensor) -> Tensor:
        """float[1, 1, H, W] -> the same shape."""
        parts = [weigh(fire(x)) for fire, weigh in zip(self.fire, self.weigh, strict=True)]
        result: Tensor = sum(parts[1:], parts[0])
        return result


def test_neurons_are_the_official_codes(tmp_path: Path) -> None:
    """Ties included; also where a random membrane is rounded to float32."""
    tags = {"d8": (8, 8), "d4": (4, 4), "d2": (2, 2), "d1": (1, 1), "d1_norm4": (1, 4)}
    graph = lowered(Neurons(list(tags.values())), (1, 1, 16, 20), tmp_path)
    with np.load(FOLDER / "neuron.npz") as arrays:
        x = arrays["x"].reshape(1, 1, 16, 20).astype(np.float32)
        run = Simulator(graph, threads=1).run(x)
        for i, tag in enumerate(tags):
            np.testing.assert_array_equal(run.counts[f"fire.{i}"].ravel(), arrays[f"int_{tag}"])
