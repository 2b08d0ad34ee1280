"""The integer neuron of I-LIF, NI-LIF and SFA networks, one module for all of them.

``n = clip(round(u), 0, D)``, the value handed on is ``n / Norm``. With one real time step there
is no state. With more, the membrane that was left leaks into the next step:
``u[t] = (u[t-1] - n[t-1]) * leak + gain * x[t]``.

Source: Yao et al. 2025 (SFA), arXiv:2411.16061; Luo et al. 2024 (I-LIF), arXiv:2407.20708.
"""

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

Rounding = Literal["half_even", "half_up"]

TINY = torch.finfo(torch.float32).tiny
EPSILON = torch.finfo(torch.float32).eps


def spike_counts(membrane: Tensor, levels: int, rounding: Rounding) -> Tensor:
    """Integers ``0..levels`` in the dtype of ``membrane``, any shape: clamp, then round.

    >>> spike_counts(torch.tensor([0.5, 1.5, 2.5, 9.0]), 4, "half_even").tolist()
    [0.0, 2.0, 2.0, 4.0]
    >>> spike_counts(torch.tensor([0.5, 1.5, 2.5, 9.0]), 4, "half_up").tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    clamped = membrane.clamp(0, levels)
    return clamped.round() if rounding == "half_even" else (clamped + 0.5).floor()


def gradient_bounds(levels: int, rounding: Rounding) -> tuple[float, float]:
    """The open interval of membranes that hand the gradient on.

    The published half-up networks exclude 0 and ``levels`` from the gradient, the others
    include them: there the interval opens just outside.
    """
    if rounding == "half_up":
        return 0.0, float(levels)
    return -TINY, levels * (1 + EPSILON)


class _StraightThrough(torch.autograd.Function):
    """Forward: counts / norm. Backward: the gradient / norm where the membrane is in bounds."""

    @staticmethod
    def forward(ctx: Any, membrane: Tensor, levels: int, norm: float, rounding: Rounding) -> Tensor:
        ctx.save_for_backward(membrane)
        ctx.bounds = gradient_bounds(levels, rounding)
        ctx.norm = norm
        counts = spike_counts(membrane, levels, rounding)
        return counts if norm == 1 else counts.div_(norm)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (membrane,) = ctx.saved_tensors
        # One fused pass over memory; it excludes the bounds it is given.
        passed = torch.ops.aten.hardtanh_backward(gradients[0], membrane, *ctx.bounds)
        return passed if ctx.norm == 1 else passed.div_(ctx.norm), None, None, None


class IntegerFire(nn.Module):
    """Emits ``n / norm`` with ``n`` an integer in ``0..levels`` (the papers' ``D``).

    No parameters and no buffers: a state dict never mentions it. While a model is exported to
    ONNX it becomes one ``s2f::IntegerFire`` node, behind a product with ``gain`` if that is not
    1. State begins at zero in every call.

    Args:
        levels: largest count, ``D``.
        norm: divisor of the count, ``Norm``.
        rounding: how exact halves are rounded; also selects the bounds of the gradient, as
            upstream's two families do.
        timesteps: real time steps, which lie one after the other on the first axis.
        leak: share of the membrane that is left after a time step, ``beta``.
        gain: factor of what comes in.
    """

    def __init__(
        self,
        levels: int,
        norm: float,
        rounding: Rounding = "half_even",
        *,
        timesteps: int = 1,
        leak: float = 0.25,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.norm = float(norm)
        self.rounding: Rounding = rounding
        self.timesteps = timesteps
        self.leak = leak
        self.gain = gain
        self.observer: Callable[[Tensor], None] | None = None

    def forward(self, membrane: Tensor) -> Tensor:
        """Any shape in, the same shape out; ``[timesteps * B, ...]`` with several time steps."""
        if self.gain != 1:
            membrane = membrane * self.gain
        if torch.onnx.is_in_onnx_export():
            return self._symbol(membrane)
        if self.timesteps > 1:
            membrane = self._accumulate(membrane)
        if self.observer is not None:
            self.observer(spike_counts(membrane.detach(), self.levels, self.rounding))
        apply = cast("Callable[..., Tensor]", _StraightThrough.apply)
        return apply(membrane, self.levels, self.norm, self.rounding)

    def _accumulate(self, current: Tensor) -> Tensor:
        """The membranes of all time steps; what was emitted takes no gradient along."""
        steps = current.chunk(self.timesteps)
        membranes = [steps[0]]
        for step in steps[1:]:
            emitted = spike_counts(membranes[-1].detach(), self.levels, self.rounding)
            membranes.append((membranes[-1] - emitted) * self.leak + step)
        return torch.cat(membranes)

    def _symbol(self, membrane: Tensor) -> Tensor:
        attributes: dict[str, Any] = {
            "D": self.levels,
            "norm": self.norm,
            "rounding": self.rounding,
        }
        if self.timesteps > 1:
            attributes |= {"T": self.timesteps, "beta": self.leak}
        return torch.onnx.ops.symbolic(
            "s2f::IntegerFire",
            (membrane,),
            attributes,
            dtype=membrane.dtype,
            shape=membrane.shape,
            version=1,
        )

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        text = f"D={self.levels}, norm={self.norm:g}, rounding={self.rounding}"
        if self.timesteps > 1:
            text += f", T={self.timesteps}, beta={self.leak:g}"
        return text if self.gain == 1 else f"{text}, gain={self.gain:g}"
