import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from s2f_models.neuron import IntegerFire, Rounding, spike_counts

ROUNDINGS: tuple[Rounding, ...] = ("half_even", "half_up")

levels = st.integers(1, 255)
dtypes = st.sampled_from([torch.float32, torch.float64])
# Multiples of a quarter are exact in both types and hit every tie.
quarters = st.integers(-8, 1100).map(lambda n: n / 4)
membranes = st.lists(st.one_of(quarters, st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=20)


def by_hand(u: float, D: int, rounding: Rounding) -> int:
    clamped = min(max(u, 0.0), float(D))
    return round(clamped) if rounding == "half_even" else math.floor(clamped + 0.5)


@given(membranes, levels, dtypes, st.sampled_from(ROUNDINGS))
def test_counts_are_clamped_then_rounded(
    values: list[float], D: int, dtype: torch.dtype, rounding: Rounding
) -> None:
    # In float64 so that u + 0.5 rounds as it does in Python.
    membrane = torch.tensor(values, dtype=torch.float64)
    counts = spike_counts(membrane, D, rounding)
    assert counts.tolist() == [by_hand(u, D, rounding) for u in values]
    same_type = spike_counts(membrane.to(dtype), D, rounding)
    assert same_type.dtype is dtype
    assert same_type.min() >= 0
    assert same_type.max() <= D


@given(st.integers(0, 254), dtypes)
def test_roundings_differ_on_even_ties_only(below: int, dtype: torch.dtype) -> None:
    tie = torch.tensor([below + 0.5], dtype=dtype)
    up = spike_counts(tie, 255, "half_up").item()
    even = spike_counts(tie, 255, "half_even").item()
    assert up == below + 1
    assert even == (below if below % 2 == 0 else below + 1)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nothing_exceeds_the_largest_count(rounding: Rounding) -> None:
    # Rounding first would give 5 for the second value.
    membrane = torch.tensor([4.3, 4.7, 1e30, float("inf"), -0.7, -float("inf")])
    assert spike_counts(membrane, 4, rounding).tolist() == [4, 4, 4, 4, 0, 0]


@given(membranes, levels, st.integers(1, 8), st.sampled_from(ROUNDINGS))
def test_output_is_the_count_divided_by_norm(
    values: list[float], D: int, norm: int, rounding: Rounding
) -> None:
    membrane = torch.tensor(values, dtype=torch.float64).reshape(-1, 1)
    neuron = IntegerFire(D, norm=norm, rounding=rounding)
    assert torch.equal(neuron(membrane), spike_counts(membrane, D, rounding) / norm)


@given(membranes, levels, st.integers(1, 8), dtypes, st.sampled_from(ROUNDINGS))
def test_gradient_passes_inside_the_bounds(
    values: list[float], D: int, norm: int, dtype: torch.dtype, rounding: Rounding
) -> None:
    values = [*values, 0.0, float(D), -0.25, D + 0.25]
    membrane = torch.tensor(values, dtype=dtype, requires_grad=True)
    upstream = torch.arange(1, len(values) + 1, dtype=dtype)
    (gradient,) = torch.autograd.grad(
        IntegerFire(D, norm=norm, rounding=rounding)(membrane), membrane, upstream
    )

    def passes(u: float) -> bool:
        return 0 <= u <= D if rounding == "half_even" else 0 < u < D

    seen = membrane.detach().tolist()
    expected = torch.tensor([passes(u) for u in seen], dtype=dtype) * upstream / norm
    assert torch.equal(gradient, expected)


def test_neuron_has_no_state() -> None:
    neuron = IntegerFire(4, norm=4)
    membrane = torch.tensor([0.4, 1.6])
    first: Tensor = neuron(membrane)
    assert torch.equal(first, neuron(membrane))
    assert not neuron.state_dict()
    assert "D=4, norm=4, rounding=half_even" in repr(neuron)
