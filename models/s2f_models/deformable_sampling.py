"""Reading an image at learned positions between its pixels (DCNv3), weighted by attention.

One operation in the exported graph, ``s2f::DeformableSample``, because a compiler that knows it
can turn it into shifts and additions.

Source: Wang et al. 2023 (InternImage), arXiv:2211.05778; Lei et al. 2025 (Spike2Former),
arXiv:2412.14587.
"""

from typing import Any

import torch
from torch import Tensor, nn

# Offsets on a finer grid than this are those of float32 as they are.
MAX_BITS = 16


def round_offsets(offsets: Tensor, bits: int) -> Tensor:
    """Offsets on the grid of 2 to the power of ``-bits``, halves up; the gradient goes through.

    >>> round_offsets(torch.tensor([0.124, 0.125, -0.125, -0.126]), 2).tolist()
    [0.0, 0.25, 0.0, -0.25]
    """
    scale = float(1 << bits)
    rounded = (offsets.detach() * scale + 0.5).floor() / scale
    # Not offsets + (rounded - offsets), which would round once more.
    return rounded if not offsets.requires_grad else rounded + (offsets - offsets.detach())


def tap_positions(kernel: int, like: Tensor) -> Tensor:
    """``(dx, dy)`` of every tap before its offset: x is the slow index.

    >>> tap_positions(3, torch.zeros(1))[:4].tolist()
    [[-1.0, -1.0], [-1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]]
    """
    side = torch.arange(kernel, dtype=like.dtype, device=like.device) - kernel // 2
    return torch.cartesian_prod(side, side)


def deformable_sample(
    x: Tensor, offsets: Tensor, weights: Tensor, groups: int, kernel: int
) -> Tensor:
    """Sum over taps of ``weight * x`` at the pixel, moved by the tap and by its offset.

    Between pixels ``x`` is bilinear; outside of the image it is zero, so a point between the last
    row and the outside mixes with zeros.

    Args:
        x: float[B, C, H, W].
        offsets: float[B, H, W, groups * kernel² * 2], in pixels, x before y.
        weights: float[B, H, W, groups * kernel²].
        groups: of channels that share offsets and weights.
        kernel: side of the square of taps.

    Returns:
        float[B, C, H, W].
    """
    batch, channels, height, width = x.shape
    taps = kernel * kernel
    # [B, H, W, G, K, 2], then both as [B, G, H, W, K].
    moved = offsets.reshape(batch, height, width, groups, taps, 2) + tap_positions(kernel, offsets)
    columns, rows = moved.permute(5, 0, 3, 1, 2, 4)
    columns = columns + torch.arange(width, dtype=x.dtype, device=x.device)[:, None]
    rows = rows + torch.arange(height, dtype=x.dtype, device=x.device)[:, None, None]
    left, top = columns.detach().floor(), rows.detach().floor()
    right_share, lower_share = columns - left, rows - top
    shares = torch.stack(
        [
            share_y * share_x
            for share_y in (1 - lower_share, lower_share)
            for share_x in (1 - right_share, right_share)
        ],
        -1,
    )
    corners = [(top + dy, left + dx) for dy in (0, 1) for dx in (0, 1)]
    near = [(r.clamp(0, height - 1), c.clamp(0, width - 1)) for r, c in corners]
    inside = torch.stack(
        [(r == y) & (c == x) for (r, c), (y, x) in zip(corners, near, strict=True)], -1
    )
    pixels = torch.stack([y * width + x for y, x in near], -1)
    attention = weights.reshape(batch, height, width, groups, taps).permute(0, 3, 1, 2, 4)
    shares = shares * inside * attention[..., None]

    # All maps of all groups one after the other, one row of channels for each pixel.
    table = x.reshape(batch * groups, channels // groups, height * width).transpose(1, 2)
    first = torch.arange(batch * groups, device=x.device) * (height * width)
    index = pixels.reshape(batch * groups, -1).long() + first[:, None]
    corner_values = table.flatten(0, 1)[index.flatten()]
    corner_values = corner_values.reshape(batch * groups, height * width, taps * 4, -1)
    summed = shares.reshape(batch * groups, height * width, 1, taps * 4) @ corner_values
    return summed.squeeze(2).transpose(1, 2).reshape(x.shape)


class DeformableSample(nn.Module):
    """``deformable_sample`` with offsets as they are, or rounded to a grid.

    No parameters. While a model is exported it becomes one ``s2f::DeformableSample`` node.

    Args:
        groups: of channels.
        kernel: side of the square of taps.
        bits: fraction bits that offsets are rounded to; 0 takes them as they are.
    """

    def __init__(self, groups: int, kernel: int, bits: int) -> None:
        super().__init__()
        self.groups = groups
        self.kernel = kernel
        self.bits = bits

    def forward(self, x: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """As ``deformable_sample``."""
        if torch.onnx.is_in_onnx_export():
            return self._symbol(x, offsets, weights)
        if self.bits:
            offsets = round_offsets(offsets, self.bits)
        return deformable_sample(x, offsets, weights, self.groups, self.kernel)

    def _symbol(self, x: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        attributes: dict[str, Any] = {
            "groups": self.groups,
            "kernel": self.kernel,
            "bits": self.bits,
        }
        return torch.onnx.ops.symbolic(
            "s2f::DeformableSample",
            (x, offsets, weights),
            attributes,
            dtype=x.dtype,
            shape=x.shape,
            version=1,
        )

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"groups={self.groups}, kernel={self.kernel}, bits={self.bits}"
