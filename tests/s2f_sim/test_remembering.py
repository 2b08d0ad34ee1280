"""The neuron that remembers, in its kernel, against its dense definition: every bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType, Graph, Level, Node, TensorType, attributes
from s2f_sim.engine import Walk
from s2f_sim.events import EventsEngine
from s2f_sim.reference import ReferenceEngine

# Of the sums, and of the membrane.
KINDS = [
    ("float32", "float32"),
    ("int32", "int32"),
    ("int32", "int64"),
    ("int64", "int64"),
    ("int64", "int32"),
]


def neuron(
    kind: str, shape: tuple[int, ...], leak: int, comparators: NDArray[Any], one: NDArray[Any]
) -> Graph:
    """Sums of several real timesteps, and the neurons that fire them."""
    steps, *space = shape
    sums = TensorType(tuple(space), DType(kind), steps=steps)
    counts = TensorType(tuple(space), DType.COUNT, len(comparators), steps)
    values = attributes(leak_shift=leak, levels=len(comparators), window=1)
    nodes = (
        Node("sums", "input", (), (), sums, ""),
        Node("fired", "integrate_fire", ("sums",), ("comparators", "one"), counts, "", values),
    )
    return Graph("neuron", Level.EVENT, nodes, {"comparators": comparators, "one": one})


def assert_equal_walks(graph: Graph, sums: NDArray[Any], timesteps: int) -> None:
    engines = EventsEngine(graph, 1), ReferenceEngine(graph)
    found, expected = (Walk(graph, engine, timesteps) for engine in engines)
    for walk in (found, expected):
        walk.run(sums, {})
    np.testing.assert_array_equal(found.counts["fired"], expected.counts["fired"])
    np.testing.assert_array_equal(found.spikes["fired"], expected.spikes["fired"])


def draw_values(
    rng: np.random.Generator, kind: np.dtype[Any], shape: tuple[int, ...], extreme: bool
) -> NDArray[Any]:
    """Small numbers and halves, or anything the type holds."""
    if kind.kind == "f" and extreme:
        return rng.integers(0, 2**32, shape, np.uint32).view(np.float32)
    if kind.kind == "f":
        return (rng.integers(-99, 100, shape) / 8).astype(kind)
    limits = np.iinfo(kind)
    low, high = (limits.min, limits.max) if extreme else (-999, 999)
    drawn = rng.integers(low, high, shape, kind, endpoint=True)
    edges = rng.choice(np.array([low, high, 0, -1], kind), shape)
    return np.where(rng.random(shape) < (0.3 if extreme else 0), edges, drawn)


@pytest.mark.parametrize(("kind", "wide"), KINDS)
@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
@given(
    steps=st.integers(1, 8),
    plane=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    channels=st.integers(1, 70),
    levels=st.integers(1, 9),
    timesteps=st.integers(1, 9),
    leak=st.integers(1, 4),
    shared=st.booleans(),
    extreme=st.booleans(),
    seed=st.integers(0, 2**16),
)
@example(4, (3, 4), 33, 4, 4, 2, False, True, 0)
def test_every_count_and_spike_is_that_of_the_definition(
    kind: str,
    wide: str,
    steps: int,
    plane: tuple[int, int],
    channels: int,
    levels: int,
    timesteps: int,
    leak: int,
    shared: bool,
    extreme: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    held = np.dtype(wide)
    given_one = 1 if shared else channels
    comparators = np.sort(draw_values(rng, held, (levels, given_one), extreme), axis=0)
    if held.kind == "f":
        one = np.ldexp(1.0, rng.integers(-3, 4, given_one)).astype(held)
    else:
        one = rng.integers(0, 8 * held.itemsize if extreme else 4, given_one).astype(np.uint8)
    shape = (steps, channels, *plane)
    sums = draw_values(rng, np.dtype(kind), shape, extreme)
    graph = neuron(kind, shape, leak, comparators, one)
    assert_equal_walks(graph, sums if steps > 1 else sums[0], timesteps)


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize(("kind", "wide"), KINDS)
def test_ties_fall_as_the_comparators_say(kind: str, wide: str, up: bool) -> None:
    steps, channels, leak = 3, 20, 1
    fine = 0 if wide == "float32" else leak * (steps - 1)
    # One count is 2 units of the sums: an odd sum is a tie.
    half = np.array([0.5, 1.5, 2.5]) * 2 * 2**fine
    above = np.array([0, 1, 0]) * (not up)
    if wide == "float32":
        comparators = np.nextafter(half, np.where(above, np.inf, half), dtype=np.float32)
        one = np.full(1, 2, np.float32)
    else:
        comparators = (half + above).astype(wide)
        one = np.full(1, 1, np.uint8)
    sums = np.arange(-20, steps * channels - 20).reshape(steps, channels, 1, 1).astype(kind)
    graph = neuron(kind, sums.shape, leak, comparators[:, None].astype(wide), one)
    assert_equal_walks(graph, sums, 3)
    walk = Walk(graph, EventsEngine(graph, 1), 3)
    walk.run(sums, {})
    first = walk.counts["fired"][0, :, 0, 0]
    # Of sums -20..-1 nothing fires; the first timestep has no others.
    assert first.tolist() == [0] * channels
    assert walk.counts["fired"].max() == 3
