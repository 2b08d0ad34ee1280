"""Watching what every neuron emits while a network runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from s2f_models.neuron import IntegerFire

_LARGEST_BYTE = 255


@contextmanager
def record_counts(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the integers of every neuron that fires inside the context.

    Yields:
        Counts by neuron path, in firing order, filled while the model runs: uint8 (int32 for a
        neuron of more than 255 levels) in the shape of the membrane, batch included. What a
        neuron emits when it fires again is under its path with ``#2``, ``#3``, ... appended.

    Contexts nest: an outer one goes on recording, and observers set before are still called.

    >>> with record_counts(nn.Sequential(nn.Identity(), IntegerFire(4, norm=4))) as counts:
    ...     pass
    >>> counts
    {}
    """
    counts: dict[str, Tensor] = {}
    neurons = [(path, m) for path, m in model.named_modules() if isinstance(m, IntegerFire)]
    before = [neuron.observer for _, neuron in neurons]
    try:
        for path, neuron in neurons:
            neuron.observer = _recorder(counts, path, neuron)
        yield counts
    finally:
        for (_, neuron), observer in zip(neurons, before, strict=True):
            neuron.observer = observer


def _recorder(
    counts: dict[str, Tensor], path: str, neuron: IntegerFire
) -> Callable[[Tensor], None]:
    dtype = torch.uint8 if neuron.levels <= _LARGEST_BYTE else torch.int32
    outer = neuron.observer
    firings = 0

    def record(fired: Tensor) -> None:
        nonlocal firings
        firings += 1
        counts[path if firings == 1 else f"{path}#{firings}"] = fired.to(dtype)
        if outer is not None:
            outer(fired)

    return record
