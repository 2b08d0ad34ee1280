"""The papers' energy: mean counts that somebody published, times this network's dense products.

    E = mac_pj · products with the image + synop_pj · Σ rate · dense products

Papers measure a rate once, over a whole data set, and multiply; nothing is simulated. With their
rates and the products of the graph as it is, their totals can be checked.

Source: ``spike_yolo.md`` section 7.2; Luo et al. 2024, arXiv:2407.20708.
"""

import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from s2f_deploy.errors import InputError
from s2f_deploy.ir.graph import WIRING, Graph, Node
from s2f_deploy.ops import OPS
from s2f_sim.profile import load_profile

_LARGEST = 1e18
_MOST_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Rate:
    """One row of a published table.

    Attributes:
        neuron: name of the neuron layer, or of the image.
        rate: mean count the layer emits, 0..D.
        mac: dense products behind it as the table has them, if it has.
    """

    neuron: str
    rate: float
    mac: float | None


@dataclass(frozen=True, slots=True)
class RatedLayer:
    """One layer of the network, what it reads, and at which rate: None where it multiplies."""

    name: str
    neuron: str
    rate: float | None
    mac: int
    energy_pj: float


@dataclass(frozen=True, slots=True)
class RatedEnergy:
    """What published rates amount to.

    Attributes:
        profile: whose prices were taken.
        layers: in execution order.
        stated_pj: rates times the products that the table itself states, if it does: what the
            paper adds up, its mistakes included.
        dense_pj: the dense network.
    """

    profile: str
    layers: tuple[RatedLayer, ...]
    stated_pj: float | None
    dense_pj: float

    @property
    def energy_pj(self) -> float:
        """Of all layers of the network."""
        return math.fsum(layer.energy_pj for layer in self.layers)

    @property
    def synops(self) -> float:
        """Synaptic operations."""
        return math.fsum(x.rate * x.mac for x in self.layers if x.rate is not None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        total = {"energy_pj": self.energy_pj, "synops": self.synops}
        return {**asdict(self), "layers": [asdict(layer) for layer in self.layers], "total": total}


def read_rates(path: str | os.PathLike[str]) -> tuple[Rate, ...]:
    """A table of columns ``neuron``, ``rate`` and, if it states them, ``mac``, as CSV.

    Raises:
        InputError: the file is none.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise _unusable(f"it cannot be read: {error}", path) from error
    if not 1 <= len(rows) <= _MOST_ROWS or not {"neuron", "rate"} <= set(rows[0]):
        raise _unusable("it has no columns neuron and rate", path)
    return tuple(_row(row, number, path) for number, row in enumerate(rows, 2))


def _row(row: dict[str, str], line: int, path: str | os.PathLike[str]) -> Rate:
    numbers: list[float | None] = []
    for key in ("rate", "mac"):
        text = row.get(key)
        try:
            value = float(text) if text else None
        except (TypeError, ValueError):
            value = math.nan
        if value is not None and not 0 <= value <= _LARGEST:
            raise _unusable(f"line {line} has {text!r} as its {key}", path)
        numbers.append(value)
    rate, mac = numbers
    if not row["neuron"] or rate is None:
        raise _unusable(f"line {line} lacks its neuron or rate", path)
    return Rate(row["neuron"], rate, mac)


def _unusable(what: str, path: str | os.PathLike[str]) -> InputError:
    return InputError(
        f"this is no table of rates: {what}",
        where=os.fspath(path),
        fix="write CSV lines of neuron,rate[,mac] under such a heading",
    )


def energy_of_rates(
    graph: Graph, rates: Sequence[Rate], profile: str | os.PathLike[str] = "cmos45-horowitz"
) -> RatedEnergy:
    """Price every layer of an EVENT graph by the rates of the neurons that it reads.

    Neurons are named as in the graph, with or without a leading ``model.``.

    Raises:
        InputError: a neuron of the graph is in no row.
        ProfileError: the profile does not exist or is malformed.
    """
    prices = load_profile(profile).energy
    mac_pj, synop_pj = prices["mac_pj"].v, prices["synop_pj"].v
    known = {rate.neuron.removeprefix("model."): rate.rate for rate in rates}
    layers = tuple(_layers(graph, known, mac_pj, synop_pj))
    stated = [synop_pj * rate.rate * rate.mac for rate in rates if rate.mac is not None]
    return RatedEnergy(
        profile=load_profile(profile).name,
        layers=layers,
        stated_pj=math.fsum(stated) if len(stated) == len(rates) else None,
        dense_pj=mac_pj * sum(layer.mac for layer in layers),
    )


def _layers(
    graph: Graph, known: Mapping[str, float], mac_pj: float, synop_pj: float
) -> Iterator[RatedLayer]:
    nodes = graph.by_name()
    for node in graph.select("conv2d", "event_conv2d", "linear", "event_linear"):
        op = OPS[node.op]
        assert op.padded_macs is not None
        types = [nodes[source].output for source in node.inputs]
        mac = node.output.steps * op.padded_macs(node, types, graph.arrays(node))
        if node.op in ("conv2d", "linear"):
            yield RatedLayer(node.name, node.inputs[0], None, mac, mac_pj * mac)
            continue
        rate = _rate(nodes, node.inputs[0], known)
        yield RatedLayer(node.name, node.inputs[0], rate, mac, synop_pj * rate * mac)


def _rate(nodes: Mapping[str, Node], name: str, known: Mapping[str, float]) -> float:
    """Mean count of what is called ``name``: a neuron layer, or spikes of several, wired."""
    if (bare := name.removeprefix("model.")) in known:
        return known[bare]
    node = nodes[name]
    if node.op not in WIRING:
        raise InputError(
            f"the rates say nothing of {name}",
            where="rates",
            fix="give a row for every neuron layer; s2f inspect lists them",
        )
    parts = [(nodes[i].output.channels, _rate(nodes, i, known)) for i in node.inputs]
    return math.fsum(n * rate for n, rate in parts) / sum(n for n, _ in parts)
