"""Counts times costs: what a run would take under a profile, and what the dense network would.

Under the literature convention nothing but arithmetic is charged:

    E = mac_pj · (products with the image, and of readouts) + synop_pj · (accumulations)

Accumulations are counted two ways. ``events`` is what really happened: one per spike and synapse
it reaches. ``meanfield`` is the papers' estimate: mean activation of the source times dense
products, padding included. Beside them stands the dense network at mac_pj for every product. There
is no latency here, because a profile with ``timing = "none"`` has no notion of time.

Source: Horowitz, ISSCC 2014; counting rules of Luo et al. 2024 (SpikeYOLO) and Lei et al. 2025.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from s2f_sim.profile import Profile, load_profile
from s2f_sim.run import LayerCounts, Run

SCHEMA = "s2f/energy/1"
RULES = ("events", "meanfield")


@dataclass(frozen=True, slots=True)
class LayerEnergy:
    """One layer, per sample.

    Attributes:
        kind: see `LayerCounts`.
        charged: whether its energies enter the totals.
        spikes: that arrive; for a neuron layer, that leave.
        mean_activation: mean integer of its sources, 0..D; 0 where it reads no spikes.
        spike_rate: spikes per source and timestep of a window, 0..1: mean_activation / D.
        ac_events: accumulations, exact.
        ac_meanfield: accumulations by the papers' estimate.
        mac: multiply-accumulates really done.
        energy_events_pj: with accumulations and products as they happened.
        energy_meanfield_pj: with accumulations and products as the papers count them.
        ann_dense_pj: the same layer of the dense network, taps inside the image only.
        ann_padded_pj: the same, taps on the padding included.
    """

    name: str
    kind: str
    charged: bool
    spikes: float
    mean_activation: float
    spike_rate: float
    ac_events: float
    ac_meanfield: float
    mac: float
    energy_events_pj: float
    energy_meanfield_pj: float
    ann_dense_pj: float
    ann_padded_pj: float


@dataclass(frozen=True, slots=True)
class NotCharged:
    """Work, per sample, that no total contains: neither this network's nor the dense one's.

    Attributes:
        attention_ac_events: accumulations of attention, unless the profile charges them.
        attention_ac_meanfield: the same by the papers' estimate.
        attention_energy_events_pj: what they would have cost.
        attention_energy_meanfield_pj: the same by the papers' estimate.
        host_mac: products of the tail that runs on the host.
        membrane_adds: additions of whole membranes: residual sums and pooling.
    """

    attention_ac_events: float
    attention_ac_meanfield: float
    attention_energy_events_pj: float
    attention_energy_meanfield_pj: float
    host_mac: float
    membrane_adds: float


@dataclass(frozen=True, slots=True)
class AssumedValue:
    """A value of the profile that nobody published, and its share of ``energy_pj``, 0..1."""

    key: str
    v: float
    src: str
    note: str
    share: float


@dataclass(frozen=True, slots=True)
class EnergyReport:
    """Energy of a run, per sample, under one profile.

    Attributes:
        profile: its name; ``profile_digest`` is the sha256 of its file.
        scope: see `Profile`; so are ``evidence`` and ``count_rule``.
        assumed: values of the profile that are assumptions.
        unknown_terms: energies that the profile does not know and the totals lack.
        samples: inputs averaged over.
        timesteps: K of the run; below D the counts are those of a cut-off spike train.
        levels: D.
        layers: every layer, in execution order.
        not_charged: what the totals leave out.
    """

    profile: str
    profile_digest: str
    scope: str
    evidence: str
    count_rule: str
    assumed: tuple[AssumedValue, ...]
    unknown_terms: tuple[str, ...]
    samples: int
    timesteps: int
    levels: int
    layers: tuple[LayerEnergy, ...]
    not_charged: NotCharged

    def total(self, attribute: str) -> float:
        """The sum of one attribute of `LayerEnergy` over the charged layers."""
        return float(sum(getattr(layer, attribute) for layer in self.layers if layer.charged))

    @property
    def energy_pj(self) -> float:
        """Energy of one sample under the profile's own count rule."""
        return self.total(f"energy_{self.count_rule}_pj")

    @property
    def ann_pj(self) -> float:
        """Energy of the dense network under the same rule."""
        return self.total("ann_padded_pj" if self.count_rule == "meanfield" else "ann_dense_pj")

    @property
    def ratio(self) -> float | None:
        """Dense network over spikes; None if nothing was charged."""
        return self.ann_pj / self.energy_pj if self.energy_pj else None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; the keys are the names of this class and its parts."""
        totals = (
            "ac_events",
            "ac_meanfield",
            "mac",
            "energy_events_pj",
            "energy_meanfield_pj",
            "ann_dense_pj",
            "ann_padded_pj",
        )
        return {
            "schema": SCHEMA,
            **{key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()},
            "total": {
                **{name: self.total(name) for name in totals},
                "energy_pj": self.energy_pj,
                "ann_pj": self.ann_pj,
                "ratio": self.ratio,
            },
        }


def energy(run: Run, profile: str | os.PathLike[str] = "cmos45-horowitz") -> EnergyReport:
    """Price the work of a run.

    Args:
        run: of any engine; energies are those of its mean sample.
        profile: a name from `list_profiles` or the path of a TOML file.

    Raises:
        ProfileError: the profile does not exist or is malformed.
    """
    prices = load_profile(profile)
    layers = tuple(_layer_energy(layer, run, prices) for layer in run.layers)
    return EnergyReport(
        profile=prices.name,
        profile_digest=prices.digest,
        scope=prices.scope,
        evidence=prices.evidence,
        count_rule=prices.count_rule,
        assumed=_assumed(run, prices),
        unknown_terms=prices.unknown,
        samples=run.samples,
        timesteps=run.timesteps,
        levels=run.levels,
        layers=layers,
        not_charged=_not_charged(run, layers),
    )


def _layer_energy(layer: LayerCounts, run: Run, profile: Profile) -> LayerEnergy:
    samples = layer.samples
    mac_pj = profile.energy["mac_pj"].v
    events, meanfield = (sum(_terms_pj(layer, profile, rule).values()) for rule in RULES)
    return LayerEnergy(
        name=layer.name,
        kind=layer.kind,
        charged=_charged(layer, profile),
        spikes=layer.spikes / samples,
        mean_activation=layer.mean_activation,
        spike_rate=layer.mean_activation / run.levels,
        ac_events=layer.ac / samples,
        ac_meanfield=layer.ac_meanfield / samples,
        mac=layer.mac / samples,
        energy_events_pj=events / samples,
        energy_meanfield_pj=meanfield / samples,
        ann_dense_pj=mac_pj * layer.dense_mac / samples,
        ann_padded_pj=mac_pj * layer.padded_mac / samples,
    )


def _charged(layer: LayerCounts, profile: Profile) -> bool:
    return layer.kind != "host" and (layer.kind != "attention" or profile.charge_attention)


def _terms_pj(layer: LayerCounts, profile: Profile, rule: str) -> Mapping[str, float]:
    """Energy of all samples under a count rule, by the key of the profile that prices it."""
    accumulations = layer.ac if rule == "events" else layer.ac_meanfield
    products = layer.mac if rule == "events" or layer.kind == "host" else layer.padded_mac
    terms: dict[str, float] = {}
    match layer.kind:
        case "neuron":
            # A neuron that fires subtracts from its membrane: its state changes.
            terms["neuron_idle_pj"] = layer.neuron_updates - layer.spikes
            terms["neuron_active_pj"] = terms["spike_out_pj"] = layer.spikes
        case "synapse" | "attention" | "dyadic_sampling":
            terms["synop_pj"] = accumulations
        case "encoding" if profile.first_layer == "ac":
            terms["synop_pj"] = products
        case _:
            terms["mac_pj"] = products
    prices = profile.energy
    return {key: count * prices[key].v for key, count in terms.items() if key in prices}


def _assumed(run: Run, profile: Profile) -> tuple[AssumedValue, ...]:
    totals = dict.fromkeys(profile.energy, 0.0)
    for layer in run.layers:
        if _charged(layer, profile):
            for key, value in _terms_pj(layer, profile, profile.count_rule).items():
                totals[key] += value
    everything = sum(totals.values())
    return tuple(
        AssumedValue(key, q.v, q.src, q.note, totals[key] / everything if everything else 0.0)
        for key, q in profile.energy.items()
        if q.cert == "assumed"
    )


def _not_charged(run: Run, layers: tuple[LayerEnergy, ...]) -> NotCharged:
    attention = [one for one in layers if one.kind == "attention" and not one.charged]
    return NotCharged(
        attention_ac_events=sum(layer.ac_events for layer in attention),
        attention_ac_meanfield=sum(layer.ac_meanfield for layer in attention),
        attention_energy_events_pj=sum(layer.energy_events_pj for layer in attention),
        attention_energy_meanfield_pj=sum(layer.energy_meanfield_pj for layer in attention),
        host_mac=sum(layer.mac for layer in layers if layer.kind == "host"),
        membrane_adds=sum(layer.membrane_adds for layer in run.layers) / run.samples,
    )
