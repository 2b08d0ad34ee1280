import math
import warnings

import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

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


steps = st.lists(st.lists(quarters, min_size=3, max_size=3), min_size=1, max_size=5)


@given(steps, levels, st.sampled_from(ROUNDINGS))
def test_membrane_leaks_into_the_next_time_step(
    currents: list[list[float]], D: int, rounding: Rounding
) -> None:
    timesteps = len(currents)
    neuron = IntegerFire(D, norm=1, rounding=rounding, timesteps=timesteps, leak=0.25)
    fired = neuron(torch.tensor(currents, dtype=torch.float64).reshape(timesteps, 3, 1))
    for position in range(3):
        membrane, emitted = 0.0, 0
        for step, current in enumerate(currents):
            membrane = (membrane - emitted) / 4 + current[position]
            emitted = by_hand(membrane, D, rounding)
            assert fired[step, position].item() == emitted


@given(steps, levels)
def test_event_neuron_is_the_published_one(currents: list[list[float]], D: int) -> None:
    """``v + (x - v) / 2`` with soft reset is half of what comes in and half of what was left."""
    timesteps = len(currents)
    neuron = IntegerFire(D, norm=1, timesteps=timesteps, leak=0.5, gain=0.5)
    fired = neuron(torch.tensor(currents, dtype=torch.float64))
    for position in range(3):
        left = 0.0
        for step, current in enumerate(currents):
            membrane = left + (current[position] - left) / 2
            emitted = by_hand(membrane, D, "half_even")
            left = membrane - emitted
            assert fired[step, position].item() == emitted


def test_gradient_goes_back_in_time_but_not_through_the_reset() -> None:
    current = torch.tensor([1.0, 9.0, 2.0], requires_grad=True)
    neuron = IntegerFire(4, norm=1, timesteps=3, leak=0.25)
    # Membranes 1, 9 and (9 - 4) / 4 + 2 = 3.25: the second is out of bounds itself.
    (gradient,) = torch.autograd.grad(neuron(current).sum(), current)
    assert gradient.tolist() == [1 + 1 / 16, 1 / 4, 1]


def test_symbol_says_everything() -> None:
    """One node for the neuron, behind its gain; time steps only where there are several."""
    neurons = nn.Sequential(
        IntegerFire(4, norm=1), IntegerFire(8, norm=1, timesteps=2, leak=0.5, gain=0.5)
    )
    with warnings.catch_warnings():
        # The exporter's remarks about itself.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            neurons.eval(), (torch.zeros(2, 3),), dynamo=True, verbose=False
        )
    assert program is not None
    nodes = list(program.model_proto.graph.node)
    said = [
        {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        for node in nodes
        if node.domain == "s2f"
    ]
    common = {"norm": 1.0, "rounding": b"half_even"}
    assert said == [{"D": 4, **common}, {"D": 8, "T": 2, "beta": 0.5, **common}]
    assert [node.op_type for node in nodes if node.domain != "s2f"][-1] == "Mul"


def test_time_steps_are_shown() -> None:
    text = repr(IntegerFire(4, norm=1, timesteps=2, leak=0.5, gain=0.5))
    assert "T=2, beta=0.5, gain=0.5" in text
