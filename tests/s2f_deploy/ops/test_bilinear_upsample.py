"""Bilinear upsampling: against PyTorch's, in integers, its additions; what is no shift and add."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import NetworkBuilder
from numpy.typing import NDArray
from onnx import helper

from s2f_deploy.errors import ShapeMismatchError, UnsupportedPatternError
from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.ir.graph import DType, Graph, Node, TensorType, attributes
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.bilinear_upsample import BILINEAR_UPSAMPLE, additions, along
from s2f_deploy.passes.pipeline import EVENT_PASSES, lower_content, run_passes
from s2f_sim import simulate, verify

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
MORE = st.tuples(st.integers(0, 9), st.integers(0, 9))


def enlarging(
    shape: tuple[int, ...], dtype: DType, plane: tuple[int, int] | None = None, bits: int = 2
) -> Node:
    channels, height, width = shape
    plane = plane or (2 * height, 2 * width)
    output = TensorType((channels, *plane), dtype)
    rules = attributes(plane=plane, bits=bits)
    return Node("n", "bilinear_upsample", ("x",), (), output, "n", rules)


def enlarged(
    values: NDArray[Any], dtype: DType, plane: tuple[int, int] | None = None, bits: int = 2
) -> NDArray[Any]:
    return BILINEAR_UPSAMPLE.dense(enlarging(values.shape, dtype, plane, bits), [values], [])


@given(SHAPES, st.none() | MORE, st.integers(0, 2**32 - 1))
def test_it_is_what_pytorch_interpolates(
    shape: tuple[int, ...], more: tuple[int, int] | None, seed: int
) -> None:
    values = np.random.default_rng(seed).standard_normal(shape)
    plane = (2 * shape[1], 2 * shape[2])
    if more is not None:
        plane = (shape[1] + more[0], shape[2] + more[1])
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None], size=plane, mode="bilinear", align_corners=False
    )
    found = enlarged(values, DType.FLOAT32, plane, 2 if more is None else 0)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, wanted[0].numpy(), rtol=0, atol=1e-14)


@given(
    SHAPES,
    st.none() | MORE,
    st.integers(2, 8),
    st.sampled_from([DType.INT32, DType.INT64]),
    st.integers(0, 2**32 - 1),
)
def test_integers_are_so_many_times_as_large(
    shape: tuple[int, ...], more: tuple[int, int] | None, bits: int, dtype: DType, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(-(2**14), 2**14, shape).astype(np.int32)
    plane = None if more is None else (shape[1] + more[0], shape[2] + more[1])
    found = enlarged(values, dtype, plane, bits)
    assert found.dtype == dtype.array_type
    real = enlarged(values.astype(np.float64), DType.FLOAT32, plane, bits)
    np.testing.assert_array_equal(found, 4**bits * real)


@given(st.integers(1, 40), st.integers(0, 60), st.integers(1, 12))
def test_shares_are_the_nearest_of_their_grid(source: int, more: int, bits: int) -> None:
    target = source + more
    rounded, exact = along(source, target, bits), along(source, target, 0)
    np.testing.assert_array_equal(rounded.lower, exact.lower)
    np.testing.assert_array_equal(rounded.upper, exact.upper)
    assert (np.abs(rounded.share - exact.share * 2**bits) <= 0.5).all()
    centre = (np.arange(target) + 0.5) * source / target - 0.5
    between = exact.lower + exact.share * (exact.upper - exact.lower)
    np.testing.assert_allclose(between, np.clip(centre, 0, source - 1), atol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_bounds_are_reached(sign: int) -> None:
    node = enlarging((2, 3, 3), DType.INT32)
    low, high = (np.array(ends, object) for ends in ([-7, -1], [5, 9]))
    source = TensorType((2, 3, 3), DType.INT32)
    rule = BILINEAR_UPSAMPLE.interval
    assert rule is not None
    found = rule(node, [source], [Interval(low, high)], [])
    ends = (high if sign > 0 else low).astype(np.int32)
    values = enlarged(np.broadcast_to(ends[:, None, None], source.shape), DType.INT32)
    assert values[:, 0, 0].tolist() == (found.high if sign > 0 else found.low).tolist()


@given(SHAPES, MORE, st.integers(1, 8))
def test_additions_are_those_of_a_loop(
    shape: tuple[int, ...], more: tuple[int, int], bits: int
) -> None:
    """A difference, and an addition for every bit of the share, seen from the cheaper side."""
    channels, height, width = shape
    plane, one = (height + more[0], width + more[1]), 1 << bits
    total = 0
    for small, large, others in ((height, plane[0], width), (width, plane[1], plane[0])):
        for lower, upper, share in zip(*along(small, large, bits), strict=True):
            if lower != upper and 0 < share < one:
                total += others * (1 + min(int(share).bit_count(), int(one - share).bit_count()))
    node = enlarging(shape, DType.INT32, plane, bits)
    assert additions(node, TensorType(shape, DType.INT32)) == channels * total


def test_twice_the_size_takes_two_additions_an_axis() -> None:
    """3a + b is a + 2a + b; where the edge is repeated it is 4a."""
    node, source = enlarging((2, 5, 3), DType.INT32), TensorType((2, 5, 3), DType.INT32)
    assert additions(node, source) == 2 * (2 * 8 * 3 + 2 * 4 * 10)


@pytest.mark.parametrize(
    "source", [TensorType((4, 9), DType.FLOAT32), TensorType((4, 3, 3), DType.COUNT, 4)]
)
def test_only_images_of_real_values_are_interpolated(source: TensorType) -> None:
    with pytest.raises(ShapeMismatchError, match="interpolates"):
        BILINEAR_UPSAMPLE.infer_type(enlarging((4, 3, 3), DType.FLOAT32), [source], [])


def small() -> tuple[NetworkBuilder, str]:
    """A current of 4 channels, 3 by 5."""
    made = NetworkBuilder(np.random.default_rng(5), 3, 1.0, "half_even")
    made.shapes["image"] = (2, 3, 5)
    return made, made.conv(made.neuron(made.conv("image", 4, 3, 1, 1, 1)), 4, 3, 1, 1, 1)


def lowered(made: NetworkBuilder, current: str) -> Graph:
    output = made.conv(made.neuron(current), 2, 1, 1, 0, 1)
    graph = import_onnx(made.model((2, 3, 5), output), "net")
    return run_passes(graph, EVENT_PASSES)


def test_scales_and_norms_behind_it_fold_through_it() -> None:
    made, current = small()
    large = made.normalised(made.interpolated(current))
    graph = lowered(made, made.add("Add", [large, large], made.shapes[large]))
    kinds = [node.op for node in graph.nodes]
    assert kinds.count("bilinear_upsample") == 1
    assert not {"affine", "batch_norm"} & set(kinds)


def test_its_additions_are_counted_once_where_a_neuron_reads_them() -> None:
    made, current = small()
    large = made.interpolated(current)
    graph = lowered(made, made.add("Add", [large, made.interpolated(current)], (4, 6, 10)))
    run = simulate(graph, np.ones((1, 2, 3, 5), np.float32))
    added = 4 * 6 * 10
    shape = (4, 3, 5)
    once = additions(enlarging(shape, DType.FLOAT32), TensorType(shape, DType.FLOAT32))
    assert sum(layer.membrane_adds for layer in run.layers) == added + 2 * once
    assert not any(layer.mac for layer in run.layers if layer.kind not in ("encoding", "readout"))


RATIOS = pytest.mark.parametrize("factors", [(3, 3), (2, 1), (4, 4), (5 / 3, 9 / 5)])


@RATIOS
def test_float_weights_refuse_other_ratios_by_name(factors: tuple[float, float]) -> None:
    made, current = small()
    current = made.interpolated(current, *factors)
    with pytest.raises(UnsupportedPatternError, match=r"Resize nt\d interpolates 3x5 to") as told:
        lowered(made, current)
    assert "multiples of 16" in str(told.value)
    assert "integer weights" in str(told.value)


@RATIOS
@pytest.mark.parametrize("arithmetic", ["int8", "int16"])
def test_integers_round_the_shares_of_other_ratios(
    factors: tuple[float, float], arithmetic: Literal["int8", "int16"]
) -> None:
    made, current = small()
    output = made.conv(made.neuron(made.interpolated(current, *factors)), 2, 1, 1, 0, 1)
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 5)).astype(np.float32)
    graph = lower_content(made.model((2, 3, 5), output), "net", arithmetic, calibration=x)
    (node,) = graph.select("bilinear_upsample")
    assert node["bits"] == 8
    report = verify(graph, [x])
    assert report.equivalent
    assert not report.mismatches
    events, dense = (simulate(graph, x, engine=e) for e in ("events", "reference"))
    assert all((events.counts[k] == counts).all() for k, counts in dense.counts.items())


def test_smaller_images_are_not_interpolated() -> None:
    made, current = small()
    with pytest.raises(UnsupportedPatternError, match="interpolates by"):
        lowered(made, made.interpolated(current, 2, 0.6))


@pytest.mark.parametrize(
    ("name", "value"),
    [("mode", "cubic"), ("coordinate_transformation_mode", "align_corners")],
)
def test_other_interpolations_are_refused(name: str, value: str) -> None:
    made, current = small()
    current = made.interpolated(current)
    (given_value,) = (a for a in made.nodes[-1].attribute if a.name == name)
    given_value.CopyFrom(helper.make_attribute(name, value))
    with pytest.raises(UnsupportedPatternError, match=r"Resize nt\d: interpolates"):
        lowered(made, current)


def test_spikes_are_not_interpolated() -> None:
    made, current = small()
    large = made.interpolated(made.neuron(current))
    with pytest.raises(UnsupportedPatternError, match="without weights between"):
        lowered(made, large)
