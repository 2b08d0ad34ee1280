"""Networks of a wanted activity: weights scaled until neurons emit a given mean count."""

from collections import defaultdict
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from s2f_models.neuron import IntegerFire

ROUNDS = 25
_STEP = (0.7, 1.4)


def temper(
    model: nn.Module, image: Tensor, mean_count: float | Mapping[str, float], rounds: int = ROUNDS
) -> dict[str, float]:
    """Scale the batch norm that ran last before each neuron until it emits ``mean_count``.

    Args:
        model: in evaluation mode; changed.
        image: what it is tempered on.
        mean_count: of all neuron layers, or of each by its name.
        rounds: of running it and scaling.

    Norms that serve several neurons aim at their mean. The weights stay what training could give:
    only the norms' scales and shifts change.

    Returns:
        The mean count of every neuron layer in the last round.
    """
    watch = _Watch()
    hooks = [
        module.register_forward_hook(watch.normed)
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)
    ]
    hooks += [
        module.register_forward_hook(partial(watch.fired, name))
        for name, module in model.named_modules()
        if isinstance(module, IntegerFire)
    ]
    with torch.no_grad():
        for _ in range(rounds):
            watch.served.clear()
            model(image)
            for norm, names in watch.served.items():
                emitted = np.mean([watch.means[name] for name in names])
                wanted = np.mean([_wanted(mean_count, name) for name in names])
                factor = float(np.clip((wanted / (emitted + 1e-3)) ** 0.5, *_STEP))
                norm.weight.mul_(factor)
                norm.bias.mul_(factor)
    for hook in hooks:
        hook.remove()
    return watch.means


def _wanted(mean_count: float | Mapping[str, float], name: str) -> float:
    return mean_count[name] if isinstance(mean_count, Mapping) else mean_count


class _Watch:
    """Which norm ran last before each neuron, and what neurons emit."""

    def __init__(self) -> None:
        self.last: nn.Module | None = None
        self.means: dict[str, float] = {}
        self.served: dict[nn.Module, list[str]] = defaultdict(list)

    def normed(self, norm: nn.Module, _: object, __: object) -> None:
        self.last = norm

    def fired(self, name: str, neuron: IntegerFire, _: object, emitted: Tensor) -> None:
        self.means[name] = float((emitted * neuron.norm).mean())
        if self.last is not None:
            self.served[self.last].append(name)
