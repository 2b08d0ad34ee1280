"""Bilinear upsampling row by row against the dense definition."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2f_deploy.ir.graph import DType, Graph, Level, Node, TensorType, attributes
from s2f_deploy.ops import evaluate
from s2f_sim.events import EventsEngine
from s2f_sim.kernels.finish import only_sums
from s2f_sim.simulator import Simulator
from s2f_sim.upsampling import Upsampling
from s2f_sim.workers import Workers

KINDS: list[tuple[type[Any], DType]] = [
    (np.int32, DType.INT32),
    (np.int32, DType.INT64),
    (np.int64, DType.INT64),
    (np.float32, DType.FLOAT32),
]


@pytest.mark.parametrize("threads", [1, 2])
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 6), st.integers(1, 6)),
    kinds=st.sampled_from(KINDS),
    seed=st.integers(0, 2**16),
)
def test_rows_are_mixed_as_the_definition_says(
    threads: int, shape: tuple[int, int, int], kinds: tuple[type[Any], DType], seed: int
) -> None:
    channels, height, width = shape
    kind, dtype = kinds
    output = TensorType((channels, 2 * height, 2 * width), dtype)
    rules = attributes(plane=output.plane, bits=2)
    node = Node("n", "bilinear_upsample", ("x",), (), output, "n", rules)
    image = (np.random.default_rng(seed).standard_normal(shape) * 1e6).astype(kind)
    want = np.moveaxis(evaluate(node, [image], []), 0, -1)
    found = np.empty((4 * height * width, channels), want.dtype)
    upsampling = Upsampling.of(node)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("s2f_sim.workers.WORTHWHILE_NS", 0)
        upsampling.accumulate(
            np.moveaxis(image, 0, -1), only_sums(upsampling.bias, found), Workers(threads)
        )
    np.testing.assert_array_equal(found.reshape(want.shape), want)


@given(seed=st.integers(0, 2**16), scale=st.integers(1, 40))
def test_are_added_and_fired_on_the_way(seed: int, scale: int) -> None:
    rng = np.random.default_rng(seed)
    small, large = TensorType((5, 3, 4), DType.FLOAT32), TensorType((5, 6, 8), DType.FLOAT32)
    whole = [replace(kind, dtype=DType.INT32) for kind in (small, large)]
    counts = replace(large, dtype=DType.COUNT, levels=4)
    enlarges = attributes(plane=(6, 8), bits=2)
    digital = attributes(exponent=0, low=-500, high=500)
    fires = attributes(levels=4, norm=4.0, rounding="half_even", window=1)
    graph = Graph(
        "enlarged",
        Level.EVENT,
        (
            Node("a", "input", (), (), small, "a"),
            Node("a whole", "digitise", ("a",), (), whole[0], "a", digital),
            Node("held", "constant", (), ("held",), whole[1], "held"),
            Node("enlarged", "bilinear_upsample", ("a whole",), (), whole[1], "", enlarges),
            Node("sum", "add", ("held", "enlarged"), (), whole[1], "sum"),
            Node("fired", "integrate_fire", ("sum",), ("levels",), counts, "fired", fires),
            Node("result", "output", ("fired",), (), counts, "result"),
        ),
        {
            "held": rng.integers(-999, 999, large.shape).astype(np.int32),
            "levels": np.arange(1, 5, dtype=np.int32)[:, None] * 99 * scale,
        },
    )
    engine = EventsEngine(graph, 1)
    (step,) = (one for one in engine.steps if one.node.name == "enlarged")
    assert (step.neuron, step.membrane) == (graph.node("fired"), None)
    image = rng.standard_normal((1, *small.shape)).astype(np.float32) * 100
    found, dense = (Simulator(graph, name).run(image) for name in ("events", "reference"))
    np.testing.assert_array_equal(found.counts["fired"], dense.counts["fired"])
    np.testing.assert_array_equal(found.outputs["result"], dense.outputs["result"])
