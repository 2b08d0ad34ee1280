"""Fine-tuning that sees the weights a deployed network computes with.

Deployment folds the batch norm behind a synapse (a convolution or linear layer) and the divisor of
the neuron before it into the weights, W' = W · s with s = gamma / √(var + ε) / norm for each output
channel, and rounds W' to integers times a power of two. Here a forward pass uses round(W · s) / s,
batch norms keep their statistics, and the gradient reaches the latent W as if nothing were rounded.

Source: Jacob et al. 2018, section 3, arXiv:1712.05877 (folding); Bengio et al. 2013,
arXiv:1308.3432 (straight-through gradient).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import (
    is_parametrized,
    register_parametrization,
    remove_parametrizations,
)

from s2f_models.errors import ModelError
from s2f_models.neuron import IntegerFire

Bits = Literal[8, 16]
Synapse = nn.Conv1d | nn.Conv2d | nn.Linear
Norm = nn.BatchNorm1d | nn.BatchNorm2d

# float32 rounds by half of this: what is shrunk by it stays below where it was.
SHRINK = 1 - torch.finfo(torch.float32).eps


def quantise_rows(folded: Tensor, bits: Bits) -> tuple[Tensor, Tensor]:
    """Folded weights as integers times a power of two for each output channel.

    float64[O, ...] -> whole numbers float64[O, ...] in ±(2**(bits - 1) - 1) and powers of two
    float64[O, 1, ...]: the smallest that cover their row, 1 for a row of zeros. Halves round to
    even.

    >>> integers, powers = quantise_rows(torch.tensor([[254.0, -3.0], [0.0, 0.0]]).double(), 8)
    >>> integers.tolist(), powers.flatten().tolist()
    ([[127.0, -2.0], [0.0, 0.0]], [2.0, 1.0])
    """
    largest = folded.abs().amax(dim=tuple(range(1, folded.ndim)), keepdim=True)
    mantissa, _ = torch.frexp(largest)
    # The quotient is 2 ** exponent without any rounding, which log2 and pow do not promise.
    power = largest / mantissa * 2.0 ** (1 - bits)
    power = torch.where(mantissa > 1 - 2.0 ** (1 - bits), 2 * power, power)
    power = torch.where(largest == 0, 1.0, power)
    return (folded / power).round(), power


def on_grid(latent: Tensor, scale: Tensor, bits: Bits) -> Tensor:
    """The weights that fold to integers times powers of two, in the dtype of ``latent``.

    float[O, ...], float64[O] -> float[O, ...]. A row whose scale is 0 stays as it is.
    """
    by_row = scale.reshape(-1, *[1] * (latent.ndim - 1))
    integers, power = quantise_rows(latent.double() * by_row, bits)
    weights = integers * power / by_row
    # Had float32 rounded the largest up, folding it again would need the next power of two.
    extreme = integers.abs() == 2 ** (bits - 1) - 1
    weights = torch.where(extreme, weights * SHRINK, weights)
    return torch.where(by_row == 0, latent, weights.to(latent.dtype))


class _OnGrid(torch.autograd.Function):
    """Forward: ``on_grid``. Backward: the gradient as it comes."""

    @staticmethod
    def forward(_ctx: Any, latent: Tensor, scale: Tensor, bits: Bits) -> Tensor:
        return on_grid(latent, scale, bits)

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0], None, None


class _Quantised(nn.Module):
    """Parametrization of a synapse's weight, float[O, ...] -> the same shape."""

    def __init__(self, bits: Bits, divisor: float, norms: Sequence[Norm]) -> None:
        super().__init__()
        self.bits: Bits = bits
        self.divisor = divisor
        # A tuple, which registers no submodules: the state dict mentions every norm once.
        self.norms = tuple(norms)

    def forward(self, latent: Tensor) -> Tensor:
        scale = torch.full((len(latent),), 1 / self.divisor, dtype=torch.float64)
        for norm in self.norms:
            assert norm.running_var is not None
            scale /= (norm.running_var.double() + norm.eps).sqrt()
            if norm.affine:
                scale *= norm.weight.detach().double()
        apply = cast("Callable[..., Tensor]", _OnGrid.apply)
        return apply(latent, scale, self.bits)


class _Frozen(nn.Module):
    """Put before a batch norm's class: evaluation mode, whatever is asked for."""

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 (that it is ignored is the point)
        return super().train(False)


def _freeze(norm: Norm) -> None:
    frozen = type(f"Frozen{type(norm).__name__}", (_Frozen, type(norm)), {})
    norm.__class__ = cast("type[Norm]", frozen)
    norm.eval().requires_grad_(False)


def _thaw(norm: Norm, *, training: bool) -> None:
    norm.__class__ = cast("type[Norm]", type(norm).__bases__[1])
    norm.train(training).requires_grad_(True)


def quantise_weights(model: nn.Module, sample: Tensor, bits: Bits = 8) -> None:
    """Let ``model`` compute with quantised weights from now on, in place, until they are baked.

    Optimisers keep working on the same parameters, which are the latent weights; biases are
    trained as before. Batch norms stay in evaluation mode, whatever ``model.train()`` says, and
    their parameters get no gradient. The state dict has other keys meanwhile.

    Args:
        model: left as it is if it is refused.
        sample: any input the network takes; one pass shows what is connected to what.
        bits: of one weight, with its sign.

    Raises:
        ModelError: no convolution or linear layer runs, or one cannot be deployed as it is
            connected.
    """
    folds = _Wiring(model, sample).folds()
    if not folds:
        raise ModelError(
            "there are no weights to quantise: no convolution and no linear layer ran",
            where=type(model).__name__,
            fix="give a network of nn.Conv1d, nn.Conv2d or nn.Linear modules",
        )
    for module in model.modules():
        if isinstance(module, Norm):
            _freeze(module)
    for synapse, fold in folds.items():
        scheme = _Quantised(bits, fold.divisor, fold.norms)
        register_parametrization(synapse, "weight", scheme)


def bake_weights(model: nn.Module) -> None:
    """End ``quantise_weights``, in place: the weights become what the network computed with.

    The state dict has its own keys again, and batch norms follow the mode of ``model`` and are
    trained again. Nothing happens to a network that is not quantised. A deep copy of a quantised
    network shares classes with it, which this changes: bake the network itself.
    """
    for module in list(model.modules()):
        if isinstance(module, Synapse) and _is_quantised(module):
            remove_parametrizations(module, "weight", leave_parametrized=True)
            # As it was before: the weight first.
            module._parameters["bias"] = module._parameters.pop("bias")
        elif isinstance(module, _Frozen):
            _thaw(cast("Norm", module), training=model.training)


def _is_quantised(synapse: Synapse) -> bool:
    if not is_parametrized(synapse, "weight"):
        return False
    schemes = cast("nn.ModuleDict", synapse.parametrizations)["weight"]
    return any(isinstance(scheme, _Quantised) for scheme in schemes.children())


@dataclass(slots=True)
class _Fold:
    """What deployment folds into a synapse: the neuron's divisor and the batch norms behind."""

    divisor: float
    norms: list[Norm] = field(default_factory=list)


class _Wiring:
    """Which neuron feeds which synapse, and which batch norms follow it, as one pass shows it.

    Views of a tensor share its storage, so reshapes do not matter. Tensors are kept: a freed
    storage could be another's next.
    """

    def __init__(self, model: nn.Module, sample: Tensor) -> None:
        self.paths = {module: path for path, module in model.named_modules()}
        self.kept = [sample]
        self.divisors = {_place(sample): 1.0}
        self.behind: dict[tuple[int, int], tuple[Synapse, _Fold]] = {}
        self.found: dict[Synapse, list[_Fold]] = {}
        modes = {module: module.training for module in model.modules()}
        hooks = [module.register_forward_hook(self._see) for module in model.modules()]
        try:
            with torch.no_grad():
                # Not for the norms only: a dropout that is on would hide the neuron before it.
                model.eval()(sample)
        finally:
            for hook in hooks:
                hook.remove()
            for module, training in modes.items():
                module.training = training

    def folds(self) -> dict[Synapse, _Fold]:
        """By synapse, in the order they ran."""
        for synapse, found in self.found.items():
            if found != found[:1] * len(found):
                raise ModelError(
                    "these weights are used twice, to be folded with different values",
                    where=self.paths[synapse],
                    fix="give each use weights of its own",
                )
        return {synapse: found[0] for synapse, found in self.found.items()}

    def _see(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, IntegerFire):
            self.divisors[_place(output)] = module.norm
        elif isinstance(module, Synapse):
            self._see_synapse(module, inputs[0], output)
        elif isinstance(module, Norm):
            self._see_norm(module, inputs[0], output)
        else:
            return
        self.kept += (inputs[0], output)

    def _see_synapse(self, synapse: Synapse, source: Tensor, output: Tensor) -> None:
        if is_parametrized(synapse, "weight"):
            raise ModelError(
                "these weights are computed from others already",
                where=self.paths[synapse],
                fix="call bake_weights first, or remove the parametrization",
            )
        divisor = self.divisors.get(_place(source))
        if divisor is None:
            raise ModelError(
                "these weights read neither a neuron nor the network's input",
                where=self.paths[synapse],
                fix="put an IntegerFire directly before them; only reshapes may stand between",
            )
        fold = _Fold(divisor)
        self.behind[_place(output)] = synapse, fold
        self.found.setdefault(synapse, []).append(fold)

    def _see_norm(self, norm: Norm, source: Tensor, output: Tensor) -> None:
        # Taken out: a second norm behind the same weights asks for weights of its own.
        found = self.behind.pop(_place(source), None)
        if found is None or norm.num_features != len(found[0].weight):
            raise ModelError(
                "this batch norm does not follow one convolution or linear layer",
                where=self.paths[norm],
                fix="put it directly behind the weights it is to be folded into",
            )
        if norm.running_var is None:
            raise ModelError(
                "this batch norm keeps no statistics, so it cannot be folded",
                where=self.paths[norm],
                fix="build it with track_running_stats=True",
            )
        found[1].norms.append(norm)
        self.behind[_place(output)] = found


def _place(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor's values lie, and how often they were overwritten there."""
    return tensor.untyped_storage().data_ptr(), tensor._version
