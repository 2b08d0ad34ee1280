"""What float32 samples, from operands as wrong as their bounds allow, lies within the bound."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType, Node, TensorType, attributes
from s2f_deploy.ops import OPS
from s2f_sim.error_bounds import reference_bound, spike_bound
from s2f_sim.rounding import gamma
from s2f_sim.sampling_errors import passed_on, sampled
from s2f_sim.traced import Traced

Array = NDArray[Any]
GROUPS, KERNEL, PLANE = 2, 2, (3, 4)
CHANNELS, TAPS = 4, GROUPS * KERNEL**2


@dataclass(frozen=True)
class Drawn:
    node: Node
    image: Traced
    offsets: Traced
    attention: Traced
    event_roundings: float
    rng: np.random.Generator

    @property
    def traced(self) -> Traced:
        sources = [self.image, self.offsets, self.attention]
        return sampled(self.node, sources, np.full(1, self.event_roundings))


def sampling(bits: int) -> Node:
    rule = attributes(groups=GROUPS, kernel=KERNEL, bits=bits)
    output = TensorType((CHANNELS, *PLANE), DType.FLOAT32)
    return Node("n", "deformable_sample", ("x", "o", "a"), (), output, "n", rule)


def made(rng: np.random.Generator, value: Array, roundings: float) -> Traced:
    """A value with a majorant of several times its size."""
    majorant = np.abs(value) * rng.uniform(1, 20, value.shape)
    flat = np.full((1, 1, 1), roundings)
    return Traced(value, majorant, flat, np.zeros(len(value)))


@st.composite
def samplings(draw: st.DrawFn) -> Drawn:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits = draw(st.sampled_from([0, 1, 4, 8, 12, 16]))
    unit = 2.0 ** -(bits or 3)
    offsets = rng.standard_normal((2 * TAPS, *PLANE)) * 2
    # Where rounding turns and where pixels end, and very near to it.
    turns = np.rint(offsets / unit) * unit + 0.5 * unit * rng.integers(0, 2, offsets.shape)
    offsets = turns * (1 + 2.0**-21 * rng.integers(-2, 3, offsets.shape))
    image = rng.standard_normal((CHANNELS, *PLANE)) * 10.0 ** rng.integers(-2, 3)
    counts = rng.integers(0, 5, (TAPS, *PLANE)) / draw(st.sampled_from([1.0, 3.0]))
    attention = made(rng, counts, 1)
    return Drawn(
        sampling(bits),
        made(rng, image, draw(st.sampled_from([2.0, 30.0]))),
        made(rng, offsets, draw(st.sampled_from([2.0, 30.0]))),
        replace(attention, majorant=counts),
        draw(st.sampled_from([0.0, 2.0, 300.0])),
        rng,
    )


def off(drawn: Drawn, traced: Traced, roundings: float) -> Array:
    """float32 as far from the value as so many roundings allow, the last of them being its own."""
    allowed = gamma(np.full(1, max(roundings - 1, 0))) * traced.majorant
    way = drawn.rng.choice([-1.0, -0.9, 0.0, 0.9, 1.0], traced.value.shape)
    moved: Array = (traced.value + way * allowed).astype(np.float32)
    return moved


def computed(drawn: Drawn, offset_roundings: float) -> Array:
    image = off(drawn, drawn.image, float(drawn.image.roundings.max()))
    offsets = off(drawn, drawn.offsets, offset_roundings)
    attention = drawn.attention.value.astype(np.float32)
    found = OPS["deformable_sample"].dense(drawn.node, [image, offsets, attention], [])
    assert found.dtype == np.float32
    return found.astype(np.float64)


@settings(max_examples=150)
@given(samplings())
def test_float32_stays_within_the_bound(drawn: Drawn) -> None:
    traced = drawn.traced
    bound = reference_bound(drawn.node, traced)
    own = float(drawn.offsets.roundings.max())
    for _ in range(4):
        assert (np.abs(computed(drawn, own) - traced.value) <= bound).all()


@settings(max_examples=150)
@given(samplings())
def test_so_does_the_event_graph_whatever_its_offsets_cost(drawn: Drawn) -> None:
    traced = drawn.traced
    bound = spike_bound(drawn.node, traced, traced.roundings)
    for _ in range(4):
        found = computed(drawn, drawn.event_roundings)
        assert (np.abs(found - traced.value) <= bound).all()


def test_without_jumps_it_would_not() -> None:
    """Offsets where rounding turns are rounded either way."""
    rng = np.random.default_rng(3)
    image = made(rng, rng.standard_normal((CHANNELS, *PLANE)), 2)
    offsets = made(rng, np.full((2 * TAPS, *PLANE), 0.125), 30)
    attention = Traced(
        np.ones((TAPS, *PLANE)), np.ones((TAPS, *PLANE)), np.zeros((1, 1, 1)), np.ones(TAPS)
    )
    drawn = Drawn(sampling(2), image, offsets, attention, 0.0, rng)
    traced = drawn.traced
    error = np.abs(computed(drawn, 30) - traced.value)
    assert (error > reference_bound(drawn.node, replace(traced, jump=np.zeros(1)))).any()
    assert (error <= reference_bound(drawn.node, traced)).all()


def test_exact_operands_are_sampled_exactly() -> None:
    rng = np.random.default_rng(0)
    flat = np.zeros((1, 1, 1))
    image = rng.integers(-9, 10, (CHANNELS, *PLANE)).astype(np.float64)
    offsets = rng.integers(-99, 100, (2 * TAPS, *PLANE)) / 16
    counts = rng.integers(0, 5, (TAPS, *PLANE)).astype(np.float64)
    operands = [
        Traced(value, np.abs(value), flat, grid * np.ones(len(value)))
        for value, grid in ((image, 1.0), (offsets, 1 / 16), (counts, 1.0))
    ]
    traced = sampled(sampling(3), operands, np.full(1, 100.0))
    assert traced.exact
    assert not traced.jump.any()
    assert reference_bound(sampling(3), traced).max() == 0
    assert (traced.grid == 2.0**-6).all()
    # With offsets as they are, places are rounded.
    assert not sampled(sampling(0), operands, np.zeros(1)).exact


@pytest.mark.parametrize("op", ["add", "max_pool", "conv2d", "affine", "bilinear_upsample"])
def test_jumps_are_passed_on(op: str) -> None:
    """To no less than what a change by so much changes."""
    rng = np.random.default_rng(1)
    rules: dict[str, Any] = {
        "max_pool": {"kernel": (2, 2), "stride": (1, 1), "padding": (0, 0, 0, 0)},
        "conv2d": {"groups": 1, "stride": (1, 1), "padding": (1, 1, 1, 1)},
        "bilinear_upsample": {"plane": (8, 8), "bits": 2},
    }
    shape = (2, 4, 4)
    arrays: dict[str, list[Array]] = {
        "conv2d": [rng.standard_normal((3, 2, 3, 3)), rng.standard_normal(3)],
        "affine": [rng.standard_normal(2), rng.standard_normal(2)],
    }
    params = arrays.get(op, [])
    plane = {"max_pool": (2, 3, 3), "conv2d": (3, 4, 4), "bilinear_upsample": (2, 8, 8)}
    output = TensorType(plane.get(op, shape), DType.FLOAT32)
    inputs = ("a", "b") if op == "add" else ("a",)
    node = Node("n", op, inputs, (), output, "n", attributes(**rules.get(op, {})))
    sources = [
        replace(made(rng, rng.standard_normal(shape), 1), jump=rng.random(shape)) for _ in inputs
    ]
    dense, absolute = OPS[op].dense, [np.abs(array) for array in params]
    majorant = dense(node, [source.majorant for source in sources], absolute)
    jump = passed_on(node, sources, absolute, majorant)
    value = dense(node, [source.value for source in sources], params)
    for _ in range(20):
        moved = [s.value + s.jump * rng.choice([-1, 1], shape) for s in sources]
        assert (np.abs(dense(node, moved, params) - value) <= jump * (1 + 1e-12)).all()
    assert not passed_on(node, [replace(s, jump=np.zeros(1)) for s in sources], absolute, majorant)
