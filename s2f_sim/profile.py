"""What one operation costs: profiles, with a source and a certainty for every value.

A profile is a TOML file. Its physical values are inline tables ``{ v, src, cert, note }``:
``src`` names an entry of ``[sources]``, ``cert`` is ``published``, ``derived`` or ``assumed``, and
an optional range ``lo``, ``hi`` must hold ``v``. Units are in the key names. A missing key means
unknown, zero means free. ``timing = "none"`` means that the profile has no notion of time:
nothing can be said about latency, throughput or power.
"""

import hashlib
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from s2f_deploy.errors import S2FError

CERTAINTIES = ("published", "derived", "assumed")
REQUIRED_ENERGIES = ("synop_pj", "mac_pj")
OPTIONAL_ENERGIES = ("neuron_idle_pj", "neuron_active_pj", "spike_out_pj")
BASIS = ("node_nm", "supply_v")

_SWITCHES: Mapping[str, tuple[Any, ...]] = {
    "kind": ("counts",),
    "scope": ("per_term", "all_in"),
    "evidence": ("convention", "simulated", "fitted", "measured", "assumed"),
    "timing": ("none",),
    "count_rule": ("meanfield", "events"),
    "first_layer": ("mac", "ac"),
    # The simulator counts accumulations whatever the weight, and no biases.
    "skip_zero_weights": (False,),
    "charge_bias": (False,),
    "charge_attention": (False, True),
}
_SECTIONS = ("schema_version", "profile", "sources", "basis", "energy")


class ProfileError(S2FError):
    """A cost profile that does not exist or breaks the rules of its format."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A physical value, in the unit its key names."""

    v: float
    src: str
    cert: str
    note: str


@dataclass(frozen=True, slots=True)
class Profile:
    """Energy per operation under one convention.

    Attributes:
        name: as the file says.
        digest: sha256 of the file, in hex.
        scope: ``per_term`` prices every event by itself; ``all_in`` prices a synaptic operation
            with everything included, so nothing may be added to it.
        evidence: how its numbers came about.
        count_rule: ``meanfield`` counts as the papers do, ``events`` what really happens.
        first_layer: whether products with the analog image are charged as ``mac`` or ``ac``.
        charge_attention: whether the accumulations of attention are charged.
        sources: full references, by the short names values cite.
        basis: technology the values were stated for: node_nm, supply_v.
        energy: pJ per event, by the keys of `REQUIRED_ENERGIES` and `OPTIONAL_ENERGIES`.
    """

    name: str
    digest: str
    scope: str
    evidence: str
    count_rule: str
    first_layer: str
    charge_attention: bool
    sources: Mapping[str, str]
    basis: Mapping[str, Quantity]
    energy: Mapping[str, Quantity]

    @property
    def unknown(self) -> tuple[str, ...]:
        """Energies that the profile does not know."""
        return tuple(key for key in OPTIONAL_ENERGIES if key not in self.energy)


def list_profiles() -> list[str]:
    """Names of the profiles that come with the package.

    >>> "cmos45-horowitz" in list_profiles()
    True
    """
    files = (resources.files("s2f_sim") / "costs").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def load_profile(profile: str | os.PathLike[str]) -> Profile:
    """A profile of the package by name, or any by the path of its file.

    Raises:
        ProfileError: there is none, or it breaks a rule; names the file and the key.
    """
    named = os.fspath(profile)
    if named in list_profiles():
        content = (resources.files("s2f_sim") / "costs" / f"{named}.toml").read_bytes()
        return parse_profile(content, f"{named}.toml")
    try:
        content = Path(named).read_bytes()
    except OSError as error:
        raise ProfileError(
            f"there is no cost profile {named!r}",
            where=named,
            fix=f"name a TOML file or one of {', '.join(list_profiles())}",
        ) from error
    return parse_profile(content, named)


def parse_profile(content: bytes, file: str) -> Profile:
    """A profile from the bytes of a TOML file.

    Raises:
        ProfileError: the first rule it breaks.
    """
    try:
        table = tomllib.loads(content.decode())
    except ValueError as error:
        raise ProfileError(
            f"this is no TOML: {error}", where=file, fix="correct its syntax"
        ) from error
    rules = _Rules(file)
    rules.known(table, _SECTIONS, "")
    if table.get("schema_version") != 1:
        rules.broken("schema_version", "is not 1", "write schema_version = 1")
    switches = rules.section(table, "profile")
    rules.known(switches, ("name", *_SWITCHES), "profile.")
    name = switches.get("name")
    if not isinstance(name, str) or not name:
        rules.broken("profile.name", "is no name", 'write name = "..."')
    for key, allowed in _SWITCHES.items():
        rules.switch(switches, key, allowed)
    sources = rules.sources(table)
    basis = rules.quantities(table.get("basis", {}), "basis", BASIS, sources)
    energies = (*REQUIRED_ENERGIES, *OPTIONAL_ENERGIES)
    energy = rules.quantities(rules.section(table, "energy"), "energy", energies, sources)
    rules.scope(switches["scope"], energy)
    return Profile(
        name=name,
        digest=hashlib.sha256(content).hexdigest(),
        **{key: switches[key] for key in ("scope", "evidence", "count_rule", "first_layer")},
        charge_attention=switches["charge_attention"],
        sources=sources,
        basis=basis,
        energy=energy,
    )


@dataclass(frozen=True, slots=True)
class _Rules:
    """The rules of the format; every method raises ProfileError for the key that breaks one."""

    file: str

    def broken(self, key: str, what: str, fix: str) -> NoReturn:
        raise ProfileError(f"{key} {what}", where=f"{self.file}, {key}", fix=fix)

    def section(self, table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        found = table.get(name)
        if not isinstance(found, dict):
            self.broken(name, "is missing", f"add the section [{name}]")
        return found

    def sources(self, table: Mapping[str, Any]) -> Mapping[str, str]:
        found = self.section(table, "sources")
        for key, text in found.items():
            if not isinstance(text, str) or not text:
                self.broken(f"sources.{key}", "is no text", "write the full reference")
        return found

    def known(self, table: Mapping[str, Any], keys: tuple[str, ...], prefix: str) -> None:
        for key in table:
            if key not in keys:
                self.broken(f"{prefix}{key}", "is unknown", f"known are {', '.join(keys)}")

    def switch(self, table: Mapping[str, Any], key: str, allowed: tuple[Any, ...]) -> None:
        value = table.get(key)
        # 1 == True, but a switch says true.
        if not any(value is a or (isinstance(a, str) and value == a) for a in allowed):
            found = "is missing" if key not in table else f"is {value!r}"
            words = " or ".join(str(a).lower() for a in allowed)
            self.broken(f"profile.{key}", found, f"it can be {words}")

    def quantities(
        self,
        table: Any,
        section: str,
        keys: tuple[str, ...],
        sources: Mapping[str, Any],
    ) -> dict[str, Quantity]:
        if not isinstance(table, dict):
            self.broken(section, "is no section", f"write [{section}]")
        self.known(table, keys, f"{section}.")
        return {key: self._quantity(v, f"{section}.{key}", sources) for key, v in table.items()}

    def _quantity(self, value: Any, key: str, sources: Mapping[str, Any]) -> Quantity:
        if not isinstance(value, dict):
            self.broken(key, "is a bare value", 'write { v = ..., src = "...", cert = "..." }')
        self.known(value, ("v", "src", "cert", "note", "lo", "hi"), f"{key}.")
        v = self._number(value, key, "v", None)
        if not self._number(value, key, "lo", v) <= v <= self._number(value, key, "hi", v):
            self.broken(key, "lies outside its own range", "make lo <= v <= hi")
        if value.get("src") not in sources:
            self.broken(f"{key}.src", "names no source", "name an entry of [sources]")
        if value.get("cert") not in CERTAINTIES:
            self.broken(f"{key}.cert", "is no certainty", f"write one of {', '.join(CERTAINTIES)}")
        return Quantity(v, value["src"], value["cert"], str(value.get("note", "")))

    def _number(
        self, table: Mapping[str, Any], key: str, name: str, default: float | None
    ) -> float:
        value = table.get(name, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value < 0:
            self.broken(f"{key}.{name}", "is no number >= 0", f"write {name} = a number")
        return float(value)

    def scope(self, scope: str, energy: Mapping[str, Quantity]) -> None:
        for key in REQUIRED_ENERGIES:
            if key not in energy:
                self.broken(f"energy.{key}", "is missing", "every profile prices this")
        for key in OPTIONAL_ENERGIES:
            if scope == "all_in" and key in energy and energy[key].v:
                self.broken(
                    f"energy.{key}",
                    "would be counted twice: scope all_in includes it",
                    "remove it, or set scope to per_term",
                )
