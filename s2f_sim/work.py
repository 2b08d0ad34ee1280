"""What any number of samples made every layer do: their spikes times the synapses these reach."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_sim.kernels.spike_counting import added_up
from s2f_sim.run import LayerCounts
from s2f_sim.sampling import SamplingWork
from s2f_sim.trains import Source, Trains

_WITHOUT_ACCUMULATIONS = ("neuron", "precomputed", "exact_sampling")
_LARGEST = int(np.iinfo(np.int64).max)


class Mapped(NamedTuple):
    """A source whose spikes reach more synapses from one position than from another.

    Attributes:
        number: of the layer.
        source: whose spikes it reads.
        reached: int64[positions].
    """

    number: int
    source: Source
    reached: NDArray[np.int64]


class LayerWork:
    """A layer's constant part, and what it reads.

    Args:
        constant: of one sample.
        sources: whose spikes it reads; of a population, its own.
        steps: real timesteps of a layer whose spikes no source tells.
    """

    def __init__(
        self, constant: LayerCounts, sources: tuple[Source, ...] = (), steps: int = 0
    ) -> None:
        self.constant, self.sources = constant, sources
        self.steps = max((source.steps for source in sources), default=steps)
        self.accumulates = constant.kind not in _WITHOUT_ACCUMULATIONS
        self.neurons = prod(constant.shape) if constant.kind == "neuron" else 0


class FanOut:
    """The sources of all layers, as arrays.

    Attributes:
        layers: in execution order.
        uniform: int64[3, U]: layer, population, and synapses that each of its spikes reaches;
            layers in ascending order.
        begins: where in ``uniform`` each of its layers begins.
        populations: whose spikes they are.
        mapped: layers and their sources, where that depends on the position.
        largest: synaptic operations that a layer can do in one timestep of one sample.
    """

    def __init__(self, layers: Sequence[LayerWork]) -> None:
        self.layers = tuple(layers)
        rows: dict[str, int] = {}
        uniform: list[tuple[int, int, int]] = []
        self.mapped: list[Mapped] = []
        self.populations: list[Source] = []
        for number, layer in enumerate(layers):
            for source in layer.sources:
                if not isinstance(source.reached, int):
                    self.mapped.append(Mapped(number, source, source.reached))
                    continue
                if source.name not in rows:
                    rows[source.name] = len(rows)
                    self.populations.append(source)
                uniform.append((number, rows[source.name], source.reached))
        self.uniform = np.array(uniform, np.int64).reshape(-1, 3).T
        self.begins = np.flatnonzero(np.diff(self.uniform[0], prepend=-1))
        self.largest = max((sum(s.largest for s in layer.sources) for layer in layers), default=0)


class Work:
    """Of some samples.

    Args:
        nodes: of the graph.
        fan_out: of its layers.
        timesteps: K; trains of several real timesteps are as many times as long.
    """

    def __init__(self, nodes: Mapping[str, Node], fan_out: FanOut, timesteps: int) -> None:
        self._nodes, self._fan_out, self._timesteps = nodes, fan_out, timesteps
        self._samples = 0
        self._width = timesteps * max((layer.steps for layer in fan_out.layers), default=0)
        # Of each layer spikes and synaptic accumulations, by timestep.
        self._totals = np.zeros((len(fan_out.layers), 2, self._width), np.int64)
        self._products: dict[str, int] = {}

    def add(
        self,
        spikes: Mapping[str, NDArray[Any]],
        sampled: Mapping[str, SamplingWork],
        sums: Mapping[str, NDArray[np.int64]],
        reached: Mapping[int, NDArray[np.int64]],
    ) -> None:
        """Add that of one sample.

        Args:
            spikes: integers[timesteps, positions] of every neuron layer and every pooled one.
            sampled: what every deformable sampling did.
            sums: int64[timesteps], of the neuron layers whose spikes have been added up.
            reached: int64[timesteps, 2], spikes and accumulations of layers in which these have
                been added up, by their number.
        """
        self._samples += 1
        assert self._samples * self._fan_out.largest <= _LARGEST
        trains = Trains(self._nodes, spikes)
        arrived = self._arrived(trains, sums)
        layer, population, synapses = self._fan_out.uniform
        added, begins = arrived[population], self._fan_out.begins
        for kind, of_kind in enumerate((added, added * synapses[:, None])):
            self._totals[layer[begins], kind] += np.add.reduceat(of_kind, begins)
        for number, source, synapses_of in self._fan_out.mapped:
            known = reached.get(number)
            if known is None:
                known = added_up(self._train(trains, source), synapses_of)
            self._totals[number, :, : len(known)] += known.T
        if sampled:
            self._add_sampling(sampled)

    def _arrived(self, trains: Trains, sums: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
        """Spikes of every population by timestep, zeros behind its last one."""
        found = [
            sums[source.name]
            if source.name in sums
            else added_up(self._train(trains, source))[:, 0]
            for source in self._fan_out.populations
        ]
        if any(len(row) < self._width for row in found):
            found = [np.pad(row, (0, self._width - len(row))) for row in found]
        return np.concatenate([*found, np.zeros(0, np.int64)]).reshape(-1, self._width)

    def _train(self, trains: Trains, source: Source) -> NDArray[Any]:
        train = trains.of(source.name)
        # The kernels would run off their ends in silence.
        assert train.shape == (source.steps * self._timesteps, source.positions)
        return train

    def _add_sampling(self, sampled: Mapping[str, SamplingWork]) -> None:
        for layer, totals in zip(self._fan_out.layers, self._totals, strict=True):
            name = layer.constant.name
            if name not in sampled:
                continue
            done = sampled[name].of(layer.constant)
            for row, by_timestep in zip(
                totals, (done.spikes_by_timestep, done.ac_by_timestep), strict=True
            ):
                row[: len(by_timestep)] += np.array(by_timestep, np.int64)
            self._products[name] = self._products.get(name, 0) + done.mac

    def layers(self) -> tuple[LayerCounts, ...]:
        """Layer by layer, in execution order: the constant part per sample, and its spikes."""
        samples, layers = self._samples, []
        for layer, (arrived, accumulated) in zip(
            self._fan_out.layers, self._totals.tolist(), strict=True
        ):
            constant, length = layer.constant, layer.steps * self._timesteps
            counts = LayerCounts(
                constant.name,
                constant.kind,
                constant.shape,
                samples,
                constant.inputs,
                tuple(arrived[:length]),
                tuple(accumulated[:length]) if layer.accumulates else (),
                self._products.get(constant.name, samples * constant.mac),
                samples * constant.dense_mac,
                samples * constant.padded_mac,
                samples * layer.neurons * length,
                samples * constant.membrane_adds,
            )
            layers.append(counts)
        return tuple(layers)
