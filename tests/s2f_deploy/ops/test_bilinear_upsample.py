"""Bilinear upsampling: against PyTorch's, in integers, its additions; what is no shift and add."""

from typing import Any

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
from s2f_deploy.ir.graph import DType, Graph, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.bilinear_upsample import BILINEAR_UPSAMPLE, additions, farther
from s2f_deploy.passes.pipeline import EVENT_PASSES, run_passes
from s2f_sim import simulate

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))


def enlarging(shape: tuple[int, ...], dtype: DType) -> Node:
    channels, height, width = shape
    output = TensorType((channels, 2 * height, 2 * width), dtype)
    return Node("n", "bilinear_upsample", ("x",), (), output, "n")


def enlarged(values: NDArray[Any], dtype: DType) -> NDArray[Any]:
    return BILINEAR_UPSAMPLE.dense(enlarging(values.shape, dtype), [values], [])


@given(SHAPES, st.integers(0, 2**32 - 1))
def test_it_is_what_pytorch_interpolates(shape: tuple[int, ...], seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(shape)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None], scale_factor=2, mode="bilinear", align_corners=False
    )
    found = enlarged(values, DType.FLOAT32)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, wanted[0].numpy(), rtol=0, atol=1e-14)


@given(SHAPES, st.sampled_from([DType.INT32, DType.INT64]), st.integers(0, 2**32 - 1))
def test_integers_are_sixteen_times_as_large(
    shape: tuple[int, ...], dtype: DType, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(-(2**26), 2**26, shape).astype(np.int32)
    found = enlarged(values, dtype)
    assert found.dtype == dtype.array_type
    np.testing.assert_array_equal(found, 16 * enlarged(values.astype(np.float64), DType.FLOAT32))


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


@given(SHAPES)
def test_additions_are_those_of_a_loop(shape: tuple[int, ...]) -> None:
    """3a + b is a + 2a + b; where the edge is repeated it is 4a."""
    channels, height, width = shape
    total = 0
    for size, others in ((height, width), (width, 2 * height)):
        differing = sum(int(o // 2 != other) for o, other in enumerate(farther(size)))
        total += 2 * differing * others
    assert additions(TensorType(shape, DType.INT32)) == channels * total


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
    both = [additions(TensorType((4, 3, 5), DType.FLOAT32))] * 2
    assert sum(layer.membrane_adds for layer in run.layers) == added + sum(both)
    assert not any(layer.mac for layer in run.layers if layer.kind not in ("encoding", "readout"))


@pytest.mark.parametrize("factors", [(3, 3), (2, 1), (4, 4)])
def test_other_ratios_are_refused_by_name(factors: tuple[int, int]) -> None:
    made, current = small()
    current = made.interpolated(current, *factors)
    with pytest.raises(UnsupportedPatternError, match=r"Resize nt\d: interpolates 3x5 by") as told:
        lowered(made, current)
    assert "multiples of 16" in str(told.value)


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
