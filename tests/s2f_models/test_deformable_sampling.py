import itertools

import numpy as np
import pytest
import torch
from golden_weights import golden_image
from hypothesis import given
from hypothesis import strategies as st
from spike2former_golden import FOLDER
from torch import Tensor

from s2f_models.deformable_sampling import (
    MAX_BITS,
    DeformableSample,
    deformable_sample,
    round_offsets,
)


def one_by_one(x: Tensor, offsets: Tensor, weights: Tensor, groups: int, kernel: int) -> Tensor:
    """The sum written out, one value at a time."""
    batch, channels, height, width = x.shape
    taps, each = kernel * kernel, channels // groups
    moved = offsets.reshape(batch, height, width, groups, taps, 2)
    weighted = weights.reshape(batch, height, width, groups, taps)
    result = torch.zeros_like(x)
    places = [range(side) for side in (batch, height, width, groups, taps)]
    for b, h, w, g, k in itertools.product(*places):
        row = h + k % kernel - kernel // 2 + moved[b, h, w, g, k, 1].item()
        column = w + k // kernel - kernel // 2 + moved[b, h, w, g, k, 0].item()
        for r in range(height):
            for c in range(width):
                share = max(1 - abs(row - r), 0) * max(1 - abs(column - c), 0)
                part = slice(g * each, (g + 1) * each)
                result[b, part, h, w] += weighted[b, h, w, g, k] * share * x[b, part, r, c]
    return result


@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 1), (2, 1), (1, 3), (2, 3)]))
def test_sampling_is_the_sum_written_out(seed: int, sizes: tuple[int, int]) -> None:
    groups, kernel = sizes
    source = np.random.default_rng(seed)
    batch, height, width = (int(n) for n in source.integers(1, 4, 3))
    x = torch.from_numpy(source.standard_normal((batch, 4, height, width)))
    taps = groups * kernel * kernel
    # Whole and half pixels, inside and far outside, are drawn as often as others.
    offsets = source.standard_normal((batch, height, width, 2 * taps)) * 3
    offsets = np.where(source.random(offsets.shape) < 0.5, np.round(offsets * 2) / 2, offsets)
    weights = torch.from_numpy(source.integers(0, 5, (batch, height, width, taps)) / 4)
    found = deformable_sample(x, torch.from_numpy(offsets), weights, groups, kernel)
    wanted = one_by_one(x, torch.from_numpy(offsets), weights, groups, kernel)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_sampling_is_the_official_one() -> None:
    with np.load(FOLDER / "dcnv3_core.npz") as arrays:
        x = torch.from_numpy(golden_image((2, 24, 5, 8)))
        weights = torch.from_numpy(arrays["mask_int"]).double() / 8
        found = deformable_sample(x, torch.from_numpy(arrays["offset"]), weights, 4, 3)
        wanted = torch.from_numpy(arrays["output"]).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@given(st.floats(-100, 100, width=32), st.integers(1, MAX_BITS))
def test_offsets_go_to_the_nearest_point_of_the_grid(offset: float, bits: int) -> None:
    rounded = round_offsets(torch.tensor([offset], dtype=torch.float64), bits).item()
    assert (rounded * 2**bits).is_integer()
    assert -(2.0 ** -(bits + 1)) < rounded - offset <= 2.0 ** -(bits + 1)


def test_sampling_on_a_grid_is_a_sum_of_integers() -> None:
    """Values on 2**-m, offsets on 2**-b: the sum is on 2**-(m + 2b), and float32 has it exactly."""
    m, b = 3, 2
    source = np.random.default_rng(1)
    x = torch.from_numpy(source.integers(-64, 65, (1, 8, 6, 5)) / 2**m).float()
    offsets = torch.from_numpy(source.standard_normal((1, 6, 5, 2 * 2 * 9))).float()
    weights = torch.from_numpy(source.integers(0, 5, (1, 6, 5, 2 * 9))).float()
    sampler = DeformableSample(groups=2, kernel=3, bits=b)
    found = sampler(x, offsets, weights)
    assert torch.equal((found * 2 ** (m + 2 * b)).round(), found * 2 ** (m + 2 * b))
    assert torch.equal(found.double(), sampler(x.double(), offsets.double(), weights.double()))
    exact = DeformableSample(groups=2, kernel=3, bits=0)(x, offsets, weights)
    assert not torch.equal(found, exact)


@pytest.mark.parametrize("bits", [0, 3])
def test_gradients_are_those_of_the_sum(bits: int) -> None:
    source = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=source, dtype=torch.float64)

    x = draw(1, 4, 3, 3).requires_grad_()
    offsets = (draw(1, 3, 3, 36) * 2 - 1).requires_grad_()
    weights = draw(1, 3, 3, 18).requires_grad_()
    sampler = DeformableSample(groups=2, kernel=3, bits=bits)
    if bits == 0:
        assert torch.autograd.gradcheck(sampler, (x, offsets, weights))
        return
    torch.autograd.backward(sampler(x, offsets, weights).square().sum())
    given_gradient = offsets.grad
    moved = round_offsets(offsets.detach(), bits).requires_grad_()
    torch.autograd.backward(
        deformable_sample(x.detach(), moved, weights.detach(), 2, 3).square().sum()
    )
    assert given_gradient is not None
    assert moved.grad is not None
    # Rounding hands the gradient on as it is.
    assert torch.equal(given_gradient, moved.grad)
