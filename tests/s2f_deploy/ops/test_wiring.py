"""Concatenation, upsampling and max pooling: of membranes, of counts, of trains of spikes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import NetworkBuilder
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.ir.graph import DType, Node, TensorType, attributes
from s2f_deploy.ops.concat import CONCAT
from s2f_deploy.ops.max_pool import MAX_POOL
from s2f_deploy.ops.upsample import UPSAMPLE, spread
from s2f_deploy.passes.pipeline import EVENT_PASSES, run_passes
from s2f_sim import Simulator

COUNTS = TensorType((2, 4, 5), DType.COUNT, 3)


def node(op: str, **constants: object) -> Node:
    return Node("n", op, ("a",), (), COUNTS, "n", attributes(**constants))  # type: ignore[arg-type]


def pool(kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, ...]) -> Node:
    return node("max_pool", kernel=kernel, stride=stride, padding=padding)


@st.composite
def pools(draw: st.DrawFn) -> Node:
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, side - 1)) for side in kernel * 2)
    return pool(kernel, draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), padding)


@given(pools(), st.integers(0, 2**32 - 1))
def test_a_pooled_train_is_the_or_of_the_trains_under_its_window(pooling: Node, seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 4, COUNTS.shape).astype(np.uint8)
    pooled = MAX_POOL.dense(pooling, [counts], [])
    assert pooled.shape == MAX_POOL.infer_type(pooling, [COUNTS], []).shape
    for timestep in (1, 2, 3):
        spikes = (counts >= timestep).astype(np.uint8)
        np.testing.assert_array_equal(
            MAX_POOL.dense(pooling, [spikes], []), (pooled >= timestep).astype(np.uint8)
        )


@given(pools(), st.sampled_from([np.float32, np.int32, np.int64]))
def test_padding_never_wins(pooling: Node, kind: type) -> None:
    lowest: NDArray[Any] = np.full(COUNTS.shape, np.iinfo(np.int32).min, kind)
    assert (MAX_POOL.dense(pooling, [lowest], []) == np.iinfo(np.int32).min).all()


@pytest.mark.parametrize(
    "pooling",
    [
        pool((3, 3), (1, 1), (3, 0, 0, 0)),
        pool((6, 6), (1, 1), (0, 0, 0, 0)),
        pool((3, 3), (1, 1), (1,)),
    ],
)
def test_windows_on_nothing_are_refused(pooling: Node) -> None:
    with pytest.raises(ShapeMismatchError, match="pools"):
        MAX_POOL.infer_type(pooling, [COUNTS], [])


def test_upsampling_copies_and_counts_of_positions_follow() -> None:
    enlarge = node("upsample", factors=(2, 3))
    counts = np.arange(40, dtype=np.uint8).reshape(COUNTS.shape)
    large = UPSAMPLE.dense(enlarge, [counts], [])
    assert large.shape == UPSAMPLE.infer_type(enlarge, [COUNTS], []).shape == (2, 8, 15)
    for y, x in np.ndindex(8, 15):
        np.testing.assert_array_equal(large[:, y, x], counts[:, y // 2, x // 3])
    by_position = counts.sum(0, dtype=np.int64).reshape(1, -1)
    shown = spread(enlarge, COUNTS, by_position)
    np.testing.assert_array_equal(shown, large.sum(0, dtype=np.int64).reshape(1, -1))


def test_spikes_are_concatenated_with_spikes_alone() -> None:
    other = TensorType((3, 4, 5), DType.COUNT, 7)
    joined = CONCAT.infer_type(node("concat"), [COUNTS, other], [])
    assert (joined.shape, joined.levels) == ((5, 4, 5), 7)
    for wrong in (TensorType((3, 4, 5), DType.FLOAT32), TensorType((3, 4, 4), DType.COUNT, 3)):
        with pytest.raises(ShapeMismatchError, match="concatenates"):
            CONCAT.infer_type(node("concat"), [COUNTS, wrong], [])


Wired = Callable[[NetworkBuilder, str, str], str]


@pytest.mark.parametrize(
    "wired",
    [
        lambda made, a, b: made.concat(a, b, a),
        lambda made, a, _: made.upsampled(a, 2, 3),
        lambda made, a, _: made.max_pooled(a, 3, 2, 1),
        lambda made, a, b: made.upsampled(made.max_pooled(made.concat(b, a), 2, 1, 0), 1, 2),
    ],
)
def test_every_spike_that_wiring_shows_is_accumulated(wired: Wired) -> None:
    """Arrivals and additions, by a loop over what the layer reads."""
    made = NetworkBuilder(np.random.default_rng(4), 3, 1.0, "half_even")
    made.shapes["image"] = (2, 4, 5)
    fired = [made.neuron(made.conv("image", 2, 3, 1, 1, 1)) for _ in range(2)]
    source = wired(made, *fired)
    output = made.conv(source, 3, 2, 1, 1, 1)
    graph = run_passes(import_onnx(made.model((2, 4, 5), output), "net"), EVENT_PASSES)
    pixels = np.random.default_rng(1).integers(-16, 17, (1, 2, 4, 5))
    run = Simulator(graph, "reference").run((pixels / 8).astype(np.float32))
    counts = {name: run.counts[f"n{name}"][0] for name in fired if f"n{name}" in run.counts}
    (layer,) = (layer for layer in run.layers if layer.kind == "synapse")
    read = _shown(made, source, counts)
    reached = np.zeros(read.shape[1:], int)
    for y, x, ky, kx in np.ndindex(*made.shapes[output][1:], 2, 2):
        if 0 <= y + ky - 1 < read.shape[1] and 0 <= x + kx - 1 < read.shape[2]:
            reached[y + ky - 1, x + kx - 1] += 3
    for d in (1, 2, 3):
        spikes = (read >= d).sum(0)
        assert layer.spikes_by_timestep[d - 1] == spikes.sum()
        assert layer.ac_by_timestep[d - 1] == (spikes * reached).sum()
    assert layer.ac > 0
    assert layer.inputs == read.size


def _shown(
    made: NetworkBuilder,
    name: str,
    counts: dict[str, NDArray[np.uint8]],
) -> NDArray[np.uint8]:
    """What the network's own wiring shows of counts."""
    if name in counts:
        return counts[name]
    made_by = next(n for n in made.nodes if n.output[0] == name)
    read = [_shown(made, source, counts) for source in made_by.input[:1]]
    match made_by.op_type:
        case "Concat":
            return np.concatenate([_shown(made, source, counts) for source in made_by.input])
        case "Resize":
            rows, columns = made.arrays[made_by.input[2]][2:].astype(int)
            return np.asarray(np.kron(read[0], np.ones((1, rows, columns), np.uint8)))
        case _:
            constants = {a.name: list(a.ints) for a in made_by.attribute}
            size, step, pad = (constants[k][0] for k in ("kernel_shape", "strides", "pads"))
            padded = np.pad(read[0], ((0, 0), (pad, pad), (pad, pad)))
            result = np.zeros(made.shapes[name], np.uint8)
            for c, y, x in np.ndindex(result.shape):
                result[c, y, x] = padded[c, y * step :, x * step :][:size, :size].max()
            return result
