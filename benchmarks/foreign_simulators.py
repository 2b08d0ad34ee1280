"""SpikingJelly and snnTorch as what `SpikingNetwork` is made of and run by."""

import importlib
from typing import Any, Protocol

import torch
from spiking_network import OtherSimulator, SpikingNetwork
from torch import Tensor, nn

# Smaller than the grid of any membrane near a comparator, and still exact beside 8 counts.
NUDGE = 2.0**-20

Outputs = dict[str, Tensor]
Operations = dict[str, int]


class Runner(OtherSimulator, Protocol):
    """Another simulator, and how it runs a network.

    Attributes:
        name: for the table.
    """

    name: str

    def run(self, network: SpikingNetwork, image: Tensor) -> tuple[Outputs, Operations | None]:
        """Outputs of float32[1, C, H, W], and synaptic operations by module path if it counts."""


def extra(name: str) -> Any:
    """A module that the extra ``benchmarks`` installs; without it the program ends."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"this benchmark needs {error.name}: pip install 's2f[benchmarks]'"
        ) from error


class SpikingJelly:
    """SpikingJelly 2: integer neurons, expanded into D binary slots behind each.

    Source: its documentation of ``ILIFNode``: "The standard flow is I-LIF - SpikeCountToBinary -
    bias-free weight - TemporalBinSum", the bias added once behind that.
    """

    rounding = "half_even"

    def __init__(self, *, counting: bool) -> None:
        self.name = f"SpikingJelly, {'SynOpCounter' if counting else 'not counting'}"
        self._counting = counting
        based = "spikingjelly.activation_based"
        self._node = extra(f"{based}.neuron").ILIFNode
        self._levels = extra(f"{based}.surrogate").MultiLevelSpikeCount
        self._layer = extra(f"{based}.layer")
        self._count = extra(f"{based}.op_counter")
        self._reset = extra(f"{based}.functional").reset_net

    def neuron(self, levels: int) -> nn.Module:
        """Its integer neuron, T = 1, and the expansion of its counts."""
        node = self._node(surrogate_function=self._levels(levels), step_mode="m")
        return nn.Sequential(node, self._layer.SpikeCountToBinary(levels))

    def synapses(self, weights: nn.Module) -> nn.Module:
        """All slots in one call, as a batch."""
        container: nn.Module = self._layer.SeqToANNContainer(weights)
        return container

    def total(self, levels: int) -> nn.Module:
        """Its sum over the slots of one neuron."""
        summed: nn.Module = self._layer.TemporalBinSum(levels)
        return summed

    def run(self, network: SpikingNetwork, image: Tensor) -> tuple[Outputs, Operations | None]:
        """Reset, then one image."""
        self._reset(network)
        if not self._counting:
            return network(image), None
        counter = self._count.SynOpCounter()
        with self._count.DispatchCounterMode([counter]):
            outputs = network(image)
        return outputs, {scope: sum(found.values()) for scope, found in counter.records.items()}


class SnnTorch:
    """snnTorch: ``Leaky`` neurons that do not leak, stepped D times when all input is there.

    Its synapses run as SpikingJelly's do, all slots in one call, which is faster than one by one.
    Halves go up: a neuron that ends a step at its threshold can only wait for the next, so no
    input current makes it round to even.
    """

    name, rounding = "snnTorch", "half_up"

    def __init__(self) -> None:
        self._leaky = extra("snntorch").Leaky

    def neuron(self, levels: int) -> nn.Module:
        """``Leaky`` and its window."""
        leaky = self._leaky(beta=1.0, threshold=1.0, reset_mechanism="subtract")
        return _LeakyWindow(leaky, levels)

    def synapses(self, weights: nn.Module) -> nn.Module:
        """All slots in one call, as a batch."""
        return _EverySlot(weights)

    def total(self, levels: int) -> nn.Module:
        """The sum over the slots."""
        del levels
        return _SlotSum()

    def run(self, network: SpikingNetwork, image: Tensor) -> tuple[Outputs, Operations | None]:
        """One image. It has no counter of operations."""
        return network(image), None


class _LeakyWindow(nn.Module):
    """Step d fires iff u ≥ d − ½: the membrane starts at u + ½ and must exceed 1 each time."""

    def __init__(self, leaky: nn.Module, levels: int) -> None:
        super().__init__()
        self.leaky, self.levels = leaky, levels

    def forward(self, membrane: Tensor) -> Tensor:
        current, state = membrane + (0.5 + NUDGE), torch.zeros_like(membrane)
        silence = torch.zeros_like(membrane)
        spikes = []
        for _ in range(self.levels):
            spike, state = self.leaky(current, state)
            spikes.append(spike)
            current = silence
        return torch.cat(spikes)


class _EverySlot(nn.Module):
    def __init__(self, weights: nn.Module) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, spikes: Tensor) -> Tensor:
        currents: Tensor = self.weights(spikes.flatten(0, 1))
        return currents.reshape(*spikes.shape[:2], *currents.shape[1:])


class _SlotSum(nn.Module):
    def forward(self, spikes: Tensor) -> Tensor:
        return spikes.sum(0, keepdim=True)
