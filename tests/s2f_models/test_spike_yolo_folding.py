"""Chains of convolutions without a neuron between are one convolution, border included."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s2f_models.spike_yolo_blocks import NORM_EPSILON, RepConv, SepRepConv

Affine = tuple[Tensor, Tensor]


def scale_and_shift(norm: nn.BatchNorm2d) -> Affine:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + NORM_EPSILON).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    module.double().eval()
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.2, 1.0)
            tensor.data *= torch.randint_like(tensor, 0, 2) * 2 - 1
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        assert norm.running_var is not None
        norm.running_var.abs_()
    return module


@torch.no_grad()
def fold_sep(chain: Any) -> Affine:
    """``W = P sc K``, ``b = (P sh) sum K``."""
    scale, shift = scale_and_shift(chain.body[0].bn)
    point, depth = (conv.weight for conv in chain.body[1])
    point, depth = point[:, :, 0, 0], depth[:, 0]
    weight = (point * scale)[:, :, None, None] * depth[:, None]
    return weight, (point @ shift) * depth.sum((1, 2))


@torch.no_grad()
def fold_rep(chain: Any) -> Affine:
    """``W = O K sc A``, ``b = O (sh sum K)``, then the norm of the output."""
    first, padded, last = chain.body
    scale, shift = scale_and_shift(padded.bn)
    inner = first.weight[:, :, 0, 0] * scale[:, None]
    depth, outer = last[0].weight[:, 0], last[1].weight[:, :, 0, 0]
    weight = torch.einsum("om,mhw,mi->oihw", outer, depth, inner)
    bias = outer @ (shift * depth.sum((1, 2)))
    scale, shift = scale_and_shift(last[2])
    return weight * scale[:, None, None, None], bias * scale + shift


@pytest.mark.parametrize("kind", ["sep", "rep"])
def test_chain_is_one_convolution(kind: str) -> None:
    chain = randomised(SepRepConv(6, 4) if kind == "sep" else RepConv(6, 4))
    folded = fold_sep(chain) if isinstance(chain, SepRepConv) else fold_rep(chain)
    counts = torch.randint(0, 5, (2, 6, 7, 9)).double()
    with torch.inference_mode():
        expected = nn.functional.conv2d(counts, *folded, padding=1)
        torch.testing.assert_close(chain(counts), expected, rtol=1e-12, atol=1e-12)
