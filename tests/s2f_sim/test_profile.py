from collections.abc import Callable
from pathlib import Path

import pytest

from s2f_deploy.errors import S2FError
from s2f_sim.profile import list_profiles, load_profile

PRICES = {
    "cmos45-horowitz": (0.9, 4.6),
    "cmos45-horowitz-fp16": (0.4, 1.5),
    "cmos45-horowitz-int32": (0.1, 3.2),
    "cmos45-horowitz-int8": (0.03, 0.23),
    "cmos45-horowitz-int8acc32": (0.1, 0.3),
    "cmos7-jouppi": (0.38, 1.69),
}


def test_every_packaged_profile_loads_under_its_own_name_and_with_its_prices() -> None:
    assert list_profiles() == sorted(PRICES)
    for name, (synop_pj, mac_pj) in PRICES.items():
        profile = load_profile(name)
        assert profile.name == name
        assert (profile.energy["synop_pj"].v, profile.energy["mac_pj"].v) == (synop_pj, mac_pj)
        assert (profile.count_rule, profile.charge_attention) == ("meanfield", False)
        assert profile.unknown == ()


def test_values_nobody_checked_are_assumed() -> None:
    assert load_profile("cmos7-jouppi").energy["mac_pj"].cert == "assumed"
    assert load_profile("cmos45-horowitz").energy["mac_pj"].cert == "derived"
    assert load_profile("cmos45-horowitz").energy["synop_pj"].src == "horowitz2014"


def test_digest_is_that_of_the_file(profile_file: Callable[..., Path]) -> None:
    convention = load_profile("cmos45-horowitz")
    assert load_profile(profile_file(count_rule='"events"')).digest != convention.digest
    assert load_profile(profile_file()).energy == convention.energy


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"synop_pj": "0.9"}, "energy.synop_pj"),
        ({"synop_pj": None}, "energy.synop_pj"),
        ({"synop_pj": -1}, "energy.synop_pj.v"),
        ({"mac_pj": '{ v = 4.6, src = "nobody", cert = "published" }'}, "energy.mac_pj.src"),
        ({"mac_pj": '{ v = 4.6, src = "s2f", cert = "certain" }'}, "energy.mac_pj.cert"),
        ({"mac_pj": '{ v = 4.6, src = "s2f" }'}, "energy.mac_pj.cert"),
        ({"mac_pj": '{ v = true, src = "s2f", cert = "assumed" }'}, "energy.mac_pj.v"),
        ({"mac_pj": '{ v = nan, src = "s2f", cert = "assumed" }'}, "energy.mac_pj.v"),
        ({"mac_pj": '{ v = 5, src = "s2f", cert = "assumed", hi = 4 }'}, "energy.mac_pj"),
        ({"mac_pj": '{ v = 5, src = "s2f", cert = "assumed", unit = 4 }'}, "mac_pj.unit"),
        ({"spike_out_pj": "0.0"}, "energy.spike_out_pj is a bare value"),
        ({"supply_v": "0.9"}, "basis.supply_v is a bare value"),
        ({"name": "3"}, "profile.name"),
        ({"scope": '"partial"'}, "profile.scope"),
        ({"timing": '"tick"'}, "profile.timing"),
        ({"count_rule": None}, "profile.count_rule"),
        ({"skip_zero_weights": "true"}, "profile.skip_zero_weights"),
        ({"charge_attention": "1"}, "profile.charge_attention"),
        ({"schema_version": "2"}, "schema_version"),
        ({"s2f": "3"}, "sources.s2f"),
        ({"[basis]": "x"}, "TOML"),
    ],
)
def test_broken_rule_is_refused_by_file_key_and_fix(
    profile_file: Callable[..., Path], changed: dict[str, str], names: str
) -> None:
    path = profile_file(**changed)
    if "[basis]" in changed:
        path.write_text("[basis")
    with pytest.raises(S2FError) as caught:
        load_profile(path)
    assert names in str(caught.value)
    assert str(path) in str(caught.value)
    assert "fix:" in str(caught.value)


def test_unknown_section_and_unknown_energy_are_refused(profile_file: Callable[..., Path]) -> None:
    path = profile_file()
    path.write_text(path.read_text() + "\nhop_x_pj = { v = 1, src = 's2f', cert = 'assumed' }")
    with pytest.raises(S2FError, match=r"energy\.hop_x_pj"):
        load_profile(path)
    path.write_text(profile_file().read_text() + "\n[time]")
    with pytest.raises(S2FError, match="time"):
        load_profile(path)


def test_all_in_scope_refuses_what_would_be_counted_twice(
    profile_file: Callable[..., Path],
) -> None:
    assert load_profile(profile_file(scope='"all_in"')).scope == "all_in"
    with pytest.raises(S2FError, match="spike_out_pj"):
        load_profile(profile_file(scope='"all_in"', spike_out_pj=2.0))


def test_profile_that_does_not_exist_lists_those_that_do() -> None:
    with pytest.raises(S2FError, match="cmos45-horowitz-int8acc32"):
        load_profile("cmos46")
