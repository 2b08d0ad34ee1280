"""Deformable sampling: against the PyTorch module, in integers, far outside; what is refused."""

from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
import torch
from exact_integers import _deformable_sample as in_fractions
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NetworkBuilder
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError, UnsupportedPatternError
from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.ir.graph import DType, Graph, Node, TensorType, attributes
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.deformable_sample import DEFORMABLE_SAMPLE, rounded_offsets, tap_moves
from s2f_deploy.passes.pipeline import EVENT_PASSES, lower_content, run_passes
from s2f_models.deformable_sampling import DeformableSample, tap_positions

Array = NDArray[Any]


@dataclass(frozen=True)
class Sampling:
    """A shape [C, H, W], groups, the side of the taps, and bits."""

    shape: tuple[int, int, int]
    groups: int
    kernel: int
    bits: int

    @property
    def taps(self) -> int:
        return self.groups * self.kernel**2

    def node(self, dtype: DType) -> Node:
        rule = attributes(groups=self.groups, kernel=self.kernel, bits=self.bits)
        params = ("s",) if dtype.is_integer else ()
        output = TensorType(self.shape, dtype)
        return Node("n", "deformable_sample", ("x", "o", "a"), params, output, "n", rule)

    def types(self, dtype: DType, attention: DType = DType.COUNT) -> list[TensorType]:
        plane = self.shape[1:]
        return [
            TensorType(self.shape, dtype),
            TensorType((2 * self.taps, *plane), dtype),
            TensorType((self.taps, *plane), attention, 4 * (attention is DType.COUNT)),
        ]


@st.composite
def samplings(draw: st.DrawFn, fewest_bits: int = 0) -> Sampling:
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 3))
    shape = (channels, draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    kernel, bits = draw(st.integers(1, 3)), draw(st.integers(fewest_bits, 6))
    return Sampling(shape, groups, kernel, draw(st.sampled_from([bits, 16])) if bits else 0)


def counts(rng: np.random.Generator, made: Sampling, levels: int = 4) -> Array:
    drawn: Array = rng.integers(-2, levels + 1, (made.taps, *made.shape[1:])).clip(0)
    return drawn.astype(np.uint8)


@settings(max_examples=60)
@given(samplings(), st.integers(0, 2**32 - 1))
def test_it_is_what_the_module_samples(made: Sampling, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(made.shape)
    offsets = rng.standard_normal((2 * made.taps, *made.shape[1:])) * rng.choice([0.3, 3])
    offsets = np.where(rng.random(offsets.shape) < 0.2, np.round(offsets), offsets)
    attention = counts(rng, made)
    module = DeformableSample(made.groups, made.kernel, made.bits)
    last = (torch.from_numpy(a).double().permute(1, 2, 0)[None] for a in (offsets, attention))
    with torch.inference_mode():
        wanted = module(torch.from_numpy(x)[None], *last)[0].numpy()
    node = made.node(DType.FLOAT32)
    found = DEFORMABLE_SAMPLE.dense(node, [x, offsets, attention], [])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    real = DEFORMABLE_SAMPLE.dense(node, [x, offsets, attention / 4], [])
    np.testing.assert_allclose(real, wanted / 4, rtol=0, atol=1e-12)


@settings(max_examples=60)
@given(samplings(fewest_bits=1), st.booleans(), st.integers(0, 2**32 - 1))
def test_integers_are_exact(made: Sampling, far: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-1000, 1000, made.shape).astype(np.int32)
    shifts = rng.integers(-6, 13, 1 if rng.random() < 0.3 else 2 * made.taps).astype(np.int8)
    by_channel = np.broadcast_to(shifts, 2 * made.taps).reshape(-1, 1, 1)
    reach = np.ldexp(1e6 if far else 4.0 * 2**made.bits, by_channel)
    offsets = np.rint(rng.uniform(-1, 1, (2 * made.taps, *made.shape[1:])) * reach)
    attention = counts(rng, made)
    node = made.node(DType.INT64)
    kind = np.int64 if np.abs(offsets).max() > 2**31 - 1 else np.int32
    inputs = [x, offsets.astype(kind), attention]
    found = DEFORMABLE_SAMPLE.dense(node, inputs, [shifts])
    assert found.dtype == np.int64
    whole = [np.array(a.tolist(), object) for a in inputs]
    np.testing.assert_array_equal(found, in_fractions(node, whole, [shifts]).astype(np.int64))


@given(
    st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=5),
    st.integers(-40, 62),
    st.sampled_from([1, 8, 16]),
)
def test_offsets_are_rounded_halves_up(values: list[int], shift: int, bits: int) -> None:
    offsets = np.array(values, np.int64)
    found = rounded_offsets(offsets, bits, np.array([shift], np.int8))
    for value, units in zip(values, found.tolist(), strict=True):
        exact = floor(Fraction(value) / Fraction(2) ** shift + Fraction(1, 2))
        # Further away than any image is all the same.
        assert units == exact or (abs(exact) > 2**60 < abs(units) and (units > 0) == (exact > 0))


@pytest.mark.parametrize("bits", [0, 4])
def test_what_lies_far_outside_or_is_no_number_is_zero(bits: int) -> None:
    made = Sampling((2, 3, 4), 2, 1, bits)
    x = np.ones(made.shape, np.float32)
    attention = np.ones((2, 3, 4), np.uint8)
    for value in (4, -4, 1e30, -1e30, 3e38, np.inf, -np.inf, np.nan):
        offsets = np.full((4, 3, 4), value, np.float32)
        found = DEFORMABLE_SAMPLE.dense(made.node(DType.FLOAT32), [x, offsets, attention], [])
        assert found.dtype == np.float32
        assert not found.any()
    # Half a pixel outside, a corner mixes with zeros.
    offsets = np.full((4, 3, 4), -0.5, np.float32)
    found = DEFORMABLE_SAMPLE.dense(made.node(DType.FLOAT32), [x, offsets, attention], [])
    assert found[:, 0, 0].tolist() == [0.25, 0.25]
    assert found[:, 1, 1].tolist() == [1, 1]


def test_taps_are_the_modules() -> None:
    for kernel in (1, 2, 3, 5):
        wanted = tap_positions(kernel, torch.zeros(1)).T.tolist()
        assert tap_moves(kernel).tolist() == wanted


@pytest.mark.parametrize("end", ["low", "high"])
def test_bounds_are_reached(end: str) -> None:
    """All taps of all groups on one pixel, as often as they can be."""
    made = Sampling((4, 3, 3), 2, 3, 3)
    low, high = (np.array(ends, object) for ends in ([-7, -1, -3, 0], [5, 9, 0, 2]))
    most = np.arange(1, 19).astype(object)
    rule = DEFORMABLE_SAMPLE.interval
    assert rule is not None
    ranges = [Interval(low, high), Interval.constant(-99, 99, 36), Interval(most * 0, most)]
    found = rule(made.node(DType.INT64), made.types(DType.INT32), ranges, [])
    x = np.broadcast_to((low if end == "low" else high).astype(np.int32)[:, None, None], (4, 3, 3))
    attention = np.broadcast_to(most.astype(np.uint8)[:, None, None], (18, 3, 3))
    offsets = np.zeros((36, 3, 3), np.int32)
    shifts = np.zeros(1, np.int8)
    values = DEFORMABLE_SAMPLE.dense(made.node(DType.INT64), [x, offsets, attention], [shifts])
    assert values[:, 1, 1].tolist() == getattr(found, end).tolist()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        moved = rng.integers(-12, 13, (36, 3, 3)).astype(np.int32)
        values = DEFORMABLE_SAMPLE.dense(made.node(DType.INT64), [x, moved, attention], [shifts])
        rows = values.reshape(4, -1)
        assert (found.low <= rows.min(1)).all()
        assert (rows.max(1) <= found.high).all()


MADE = Sampling((4, 3, 3), 2, 3, 8)
REAL, WHOLE = MADE.types(DType.FLOAT32), MADE.types(DType.INT32)
SHIFTS = np.zeros(36, np.int8)


@pytest.mark.parametrize(
    ("types", "changed", "params"),
    [
        ([REAL[0], REAL[1], REAL[1]], {}, []),
        ([REAL[0], REAL[2], REAL[2]], {}, []),
        ([REAL[2], REAL[1], REAL[2]], {}, []),
        ([REAL[0], WHOLE[1], REAL[2]], {}, []),
        (REAL, {"groups": 3}, []),
        (REAL, {"groups": 0}, []),
        (REAL, {"kernel": 2}, []),
        (REAL, {"bits": 17}, []),
        (REAL, {"bits": -1}, []),
        (WHOLE, {"bits": 0}, [SHIFTS]),
        (WHOLE, {}, []),
        (WHOLE, {}, [SHIFTS[:5]]),
        (WHOLE, {}, [SHIFTS + np.int8(63)]),
        (WHOLE, {}, [SHIFTS - np.int8(41)]),
        ([*WHOLE[:2], WHOLE[0]], {}, [SHIFTS]),
        (MADE.types(DType.INT64), {}, [SHIFTS]),
    ],
)
def test_operands_that_do_not_fit_are_refused(
    types: list[TensorType], changed: dict[str, int], params: list[Array]
) -> None:
    kind = DType.INT32 if types[0].dtype.is_integer else DType.FLOAT32
    node = MADE.node(kind).with_attributes(**changed)
    with pytest.raises(ShapeMismatchError, match="n samples"):
        DEFORMABLE_SAMPLE.infer_type(node, types, params)


def test_operands_that_fit_have_the_type_of_what_is_sampled() -> None:
    assert DEFORMABLE_SAMPLE.infer_type(MADE.node(DType.FLOAT32), REAL, []) == REAL[0]
    real = MADE.types(DType.FLOAT32, DType.FLOAT32)
    assert DEFORMABLE_SAMPLE.infer_type(MADE.node(DType.FLOAT32), real, []) == REAL[0]
    found = DEFORMABLE_SAMPLE.infer_type(MADE.node(DType.INT64), WHOLE, [SHIFTS])
    assert found == TensorType((4, 3, 3), DType.INT64)


def network(*norms: float) -> tuple[NetworkBuilder, tuple[str, str, str]]:
    """Image, offsets and attention of neurons of these norms, [4, 3, 5], two groups of one tap."""
    made = NetworkBuilder(np.random.default_rng(5), 3, 1.0, "half_even")
    made.shapes["image"] = (2, 3, 5)
    fired = made.neuron(made.conv("image", 4, 3, 1, 1, 1))
    image, offsets = (made.conv(fired, 4, 3, 1, 1, 1) for _ in range(2))
    parts = [made.neuron(made.conv(fired, 2 // len(norms), 1, 1, 0, 1), n) for n in norms]
    attention = made.concat(*parts) if len(parts) > 1 else parts[0]
    return made, (image, offsets, attention)


def lowered(made: NetworkBuilder, current: str) -> Graph:
    output = made.conv(made.neuron(current), 2, 1, 1, 0, 1)
    return run_passes(import_onnx(made.model((2, 3, 5), output), "net"), EVENT_PASSES)


def test_norms_of_attention_become_a_scale_before_the_neuron() -> None:
    plain = [lowered(made, made.sampled(*read, 2, 4)) for made, read in [network(1.0)]]
    scaled = [lowered(made, made.sampled(*read, 2, 4)) for made, read in [network(4.0)]]
    comparators = [
        [graph.arrays(node)[0] for node in graph.select("integrate_fire")][-1]
        for graph in (*plain, *scaled)
    ]
    np.testing.assert_array_equal(4 * comparators[0], comparators[1])


def test_groups_may_have_norms_of_their_own() -> None:
    made, read = network(1.0, 4.0)
    graph = lowered(made, made.sampled(*read, 2, 4))
    comparators = [graph.arrays(node)[0] for node in graph.select("integrate_fire")][-1]
    np.testing.assert_array_equal(4 * comparators[:, :2], comparators[:, 2:])
    # One group of four taps cannot.
    made, (image, offsets, attention) = network(1.0, 4.0)
    offsets, attention = (made.concat(name, name) for name in (offsets, attention))
    current = made.sampled(image, offsets, attention, 1, 4)
    with pytest.raises(UnsupportedPatternError, match="one norm for every group"):
        lowered(made, current)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_spikes_weigh_and_membranes_are_sampled(place: int) -> None:
    """Not the other way round."""
    made, read = network(2.0)
    wrong = made.neuron(read[place]) if place < 2 else made.conv(read[place], 2, 1, 1, 0, 1)
    image, offsets, attention = (wrong if i == place else name for i, name in enumerate(read))
    current = made.sampled(image, offsets, attention, 2, 4)
    with pytest.raises(UnsupportedPatternError, match="weighs what it samples by something else"):
        lowered(made, current)


def test_scales_behind_it_fold_into_what_it_samples() -> None:
    made, read = network(2.0)
    scale = "scale"
    made.arrays[scale] = np.array([1, -2, 0.5, 4], np.float32).reshape(4, 1, 1)
    current = made.add("Mul", [made.sampled(*read, 2, 4), scale], (4, 3, 5))
    graph = lowered(made, current)
    assert not list(graph.select("affine"))


def test_integers_need_rounded_offsets() -> None:
    made, read = network(2.0)
    current = made.sampled(*read, 2, 0)
    output = made.conv(made.neuron(current), 2, 1, 1, 0, 1)
    content = made.model((2, 3, 5), output)
    assert list(lower_content(content, "net").select("deformable_sample"))
    with pytest.raises(UnsupportedPatternError, match="takes its offsets as they are") as told:
        lower_content(content, "net", "int8")
    assert "rounded" in str(told.value)


@pytest.mark.parametrize(("bits", "wrong"), [(4, 0), (4, 17), (0, 3)])
def test_bits_that_no_operator_rounds_to_are_refused(bits: int, wrong: int) -> None:
    made, read = network(2.0)
    current = made.sampled(*read, 2, bits)
    next(a for a in made.nodes[-1].attribute if a.name == "bits").i = wrong
    with pytest.raises(UnsupportedPatternError, match=f"offsets of {wrong} bits"):
        lowered(made, current)
