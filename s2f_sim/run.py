"""What one simulation gives back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

Kind = Literal[
    "encoding",
    "synapse",
    "attention",
    "dyadic_sampling",
    "exact_sampling",
    "chain",
    "readout",
    "host",
    "neuron",
    "precomputed",
]


class LayerCounts(NamedTuple):
    """Work one layer did, summed over the samples of a run.

    Attributes:
        name: the node of the event graph; for published networks the path of the module.
        kind: ``encoding`` multiplies the analog input, ``synapse`` and ``attention`` accumulate
            spikes, ``dyadic_sampling`` shifts and adds what lies at offsets rounded to a grid,
            ``exact_sampling`` multiplies what lies at offsets as they are, ``chain`` multiplies
            real values on the way to a neuron, ``readout`` behind the last one, ``host`` runs
            outside the chip, ``neuron`` fires, ``precomputed`` fires the same for every
            input, which is no work but where its spikes are read.
        shape: of the layer's output, one sample.
        inputs: source neurons of one sample; 0 where the layer reads no spikes.
        spikes_by_timestep: spikes that arrive (neurons: that leave) in timestep 1..K.
        ac_by_timestep: synaptic accumulations caused by them. Of a dyadic sampling the shifted
            additions that interpolate, with a tap's first spike, and one addition per spike, in
            every channel of the group; see `s2f_sim.sampling`.
        mac: multiply-accumulates really done; of an exact sampling one for each pixel, with a
            share, around a tap with spikes and each channel of the group.
        dense_mac: what the dense float layer multiplies, taps inside the image only; of a sampling
            four pixels for every tap and channel, wherever they lie.
        padded_mac: the same as the papers count it, taps on the padding included.
        neuron_updates: comparisons of a membrane with a comparator, one per neuron and timestep.
        membrane_adds: additions (residual sums, pooling, bilinear upsampling: two for each axis
            and element, none where the edge is repeated) and comparisons (max pooling) of whole
            membranes before this neuron.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    samples: int
    inputs: int = 0
    spikes_by_timestep: tuple[int, ...] = ()
    ac_by_timestep: tuple[int, ...] = ()
    mac: int = 0
    dense_mac: int = 0
    padded_mac: int = 0
    neuron_updates: int = 0
    membrane_adds: int = 0

    @property
    def spikes(self) -> int:
        """All spikes, over all timesteps."""
        return sum(self.spikes_by_timestep)

    @property
    def ac(self) -> int:
        """All synaptic accumulations, exact."""
        return sum(self.ac_by_timestep)

    @property
    def mean_activation(self) -> float:
        """Mean integer of the source neurons, 0..D."""
        return self.spikes / (self.inputs * self.samples) if self.inputs else 0.0

    @property
    def ac_meanfield(self) -> float:
        """The papers' estimate: mean activation times dense products, borders ignored."""
        return self.mean_activation * self.padded_mac


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """Results and work of one simulation.

    Attributes:
        outputs: network outputs, float32[B, ...].
        counts: what every neuron layer emitted, uint8[B, ...], in firing order.
        layers: work per layer, in execution order.
        timesteps: K, timesteps of its window in which a neuron may fire.
        levels: D, the largest count of any neuron.
        windows: windows of D timesteps between the image and the last spike.
        samples: batch size B.
        engine: which engine ran.
        seconds: wall time of the simulation; a first run on a machine compiles its kernels in it.
    """

    outputs: Mapping[str, NDArray[Any]]
    counts: Mapping[str, NDArray[Any]]
    layers: tuple[LayerCounts, ...]
    timesteps: int
    levels: int
    windows: int
    samples: int
    engine: str
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether every spike of every count could be sent."""
        return self.timesteps >= self.levels

    @property
    def latency_timesteps(self) -> int:
        """Timesteps from the image to the last spike of one sample."""
        return self.windows * self.timesteps
