"""The function of ``s2f::DeformableSample``, run by ONNX Runtime beside the PyTorch original."""

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

import s2f_deploy
from s2f_deploy.frontend.deformable_sample import sampling_function, sampling_operator
from s2f_deploy.frontend.integer_fire import DOMAIN, OPSET
from s2f_models.deformable_sampling import DeformableSample

Case = tuple[tuple[int, int, int, int], int, int, int]

CASES: list[Case] = [
    ((1, 4, 3, 5), 1, 3, 0),
    ((1, 8, 6, 4), 2, 3, 0),
    ((2, 6, 1, 7), 3, 3, 4),
    ((1, 8, 6, 4), 4, 3, 8),
    ((1, 4, 5, 5), 2, 1, 1),
    ((1, 4, 5, 5), 2, 5, 16),
]


@cache
def session(case: Case) -> onnxruntime.InferenceSession:
    """A model of the one operator; sizes are known only to the function's call."""
    shape, groups, kernel, bits = case
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"{name}_{i}" for i in range(4)])
        for name in ("X", "offsets", "weights")
    ]
    call = helper.make_node(
        sampling_operator(bits),
        ["X", "offsets", "weights"],
        ["Y"],
        domain=DOMAIN,
        groups=groups,
        kernel=kernel,
        bits=bits,
    )
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, list(shape))
    model = helper.make_model(
        helper.make_graph([call], "sampling", inputs, [output]),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        functions=[sampling_function(bits)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString())


def drawn(case: Case, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A map, offsets of which many are whole or lead outside, and weights of which many are 0."""
    (batch, channels, height, width), groups, kernel, _ = case
    source = np.random.default_rng(seed)
    taps = groups * kernel * kernel
    offsets = source.standard_normal((batch, height, width, 2 * taps)) * 2
    offsets = np.where(source.random(offsets.shape) < 0.3, np.round(offsets), offsets)
    weights = source.integers(-2, 5, (batch, height, width, taps)).clip(0) / 4
    arrays = (source.standard_normal((batch, channels, height, width)), offsets, weights)
    x, moved, weighted = (torch.from_numpy(a.astype(np.float32)) for a in arrays)
    return x, moved, weighted


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_function_computes_what_the_module_computes(case: Case, seed: int) -> None:
    _, groups, kernel, bits = case
    inputs = drawn(case, seed)
    wanted = DeformableSample(groups, kernel, bits)(*inputs).numpy()
    names = ("X", "offsets", "weights")
    feeds = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    (found,) = session(case).run(None, feeds)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_sums_on_a_grid_are_the_same_bits() -> None:
    """Nothing rounds but the offsets, so the order of the sum does not matter."""
    case = CASES[3]
    x, offsets, weights = drawn(case, 7)
    x = (x * 8).round() / 8
    wanted = DeformableSample(4, 3, 8)(x, offsets, weights).numpy()
    feeds = {"X": x.numpy(), "offsets": offsets.numpy(), "weights": weights.numpy()}
    (found,) = session(case).run(None, feeds)
    assert wanted.any()
    np.testing.assert_array_equal(found, wanted)


class Sampling(nn.Module):
    """An image, sampled where a convolution says."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.offsets = nn.Conv2d(4, 36, 1)
        self.weights = nn.Conv2d(4, 18, 1)
        self.sampler = DeformableSample(2, 3, bits)

    def forward(self, image: Tensor) -> Tensor:
        offsets, weights = (
            conv(image).permute(0, 2, 3, 1) for conv in (self.offsets, self.weights)
        )
        result: Tensor = self.sampler(image, offsets, weights)
        return result


@pytest.mark.parametrize(("bits", "name"), [(0, "DeformableSample"), (5, "DeformableSampleDyadic")])
def test_module_leaves_as_one_node(bits: int, name: str, tmp_path: Path) -> None:
    model, path = Sampling(bits).eval(), tmp_path / "sampling.onnx"
    s2f_deploy.export_onnx(model, (1, 4, 5, 7), path)
    proto = onnx.load(path)
    (node,) = [node for node in proto.graph.node if node.domain == DOMAIN]
    said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    assert (node.op_type, node.name, said) == (
        name,
        "sampler",
        {"groups": 2, "kernel": 3, "bits": bits},
    )
    assert [function.name for function in proto.functions] == [name]
    image = torch.randn(1, 4, 5, 7)
    (found,) = onnxruntime.InferenceSession(path).run(None, {"image": image.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(found, model(image).numpy(), rtol=0, atol=1e-5)
