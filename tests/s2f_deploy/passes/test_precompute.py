"""What no image changes is computed at lowering, and everything else stays as it is."""

import os
from typing import Any

import numpy as np
import pytest
from deployed_runs import differences, run_deployed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integer_builder import IntegerBuilder
from integer_networks import IntegerCase, images
from numpy.typing import NDArray
from real_time_networks import TimedBuilder

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.graph import WIRING, Graph
from s2f_deploy.ir.verify import verify as check
from s2f_deploy.ops.constant import always_fires
from s2f_deploy.passes import pipeline
from s2f_deploy.passes.precompute import precompute
from s2f_sim import Simulator, verify

DRAWS = int(os.environ.get("S2F_DRAWS", "480")) // 8
SLOW = [HealthCheck.too_slow]


def learned(made: IntegerBuilder, shape: tuple[int, ...], steps: int) -> str:
    """A tensor that no image changes, the same at all timesteps."""
    values = np.repeat(2 * made.rng.standard_normal((1, *shape)), steps, 0)
    name = made.constant(values)
    made.shapes[name] = shape
    return name


def by_heart(
    made: IntegerBuilder, shape: tuple[int, ...], steps: int, norm: float | None = None
) -> str:
    """Spikes of the second population behind a learned tensor."""
    first = made.neuron(learned(made, shape, steps))
    return made.neuron(made.same(first, shape[0]), norm)


def wired(
    made: IntegerBuilder, shape: tuple[int, ...], steps: int, kind: str, norm: float | None = None
) -> str:
    """Spikes that are known before the image is, as wiring shows them, of one norm or of any."""
    if kind == "plain":
        return by_heart(made, shape, steps, norm)
    if kind == "joined":
        channels, *plane = shape
        half = (channels // 2, *plane)
        return made.concat(*(by_heart(made, half, steps, norm) for _ in range(2)))
    known = by_heart(made, shape, steps, norm)
    if kind == "pooled":
        return made.max_pooled(known, 3, 1, 1)
    # (C, N) in memory taken as (N, C), then transposed.
    channels, tokens = shape[0], int(np.prod(shape[1:]))
    taken = made.reshaped(known, (tokens, channels))
    turned = made.add("Transpose", [taken], (channels, tokens), perm=[0, 2, 1])
    return made.reshaped(turned, shape)


def attended(made: IntegerBuilder, fired: str, queries: str) -> str:
    """Attention of one head whose queries are known before the image is."""
    channels, *plane = made.shapes[fired]
    tokens = int(np.prod(plane))
    keys, values = (made.neuron(made.convolve(fired, channels), norm=2.0) for _ in range(2))
    q, v = (made.heads(x, 1, transposed=True) for x in (queries, values))
    scores = made.add("MatMul", [q, made.heads(keys, 1, transposed=False)], (1, tokens, tokens))
    result = made.add("MatMul", [scores, v], (1, tokens, channels))
    back = made.add("Transpose", [result], (1, channels, tokens), perm=[0, 1, 3, 2])
    shape = made.ints([1, channels, *plane])
    return made.add("Reshape", [back, shape], (channels, *plane))


@st.composite
def networks(draw: st.DrawFn) -> IntegerCase:
    """An image meets what was learned: beside it, in a sum, or in attention."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = draw(st.integers(1, 3))
    build = TimedBuilder if steps > 1 else IntegerBuilder
    made: IntegerBuilder = build(rng, draw(st.integers(1, 9)), 1.0, "half_even")
    image = draw(st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(2, 5)))
    x = "image"
    made.shapes["image"] = image
    if isinstance(made, TimedBuilder):
        made.timesteps = steps
        x = made.started(image, framed=False)
    fired = made.neuron(made.same(x, 4))
    shape = made.shapes[fired]
    kind = draw(st.sampled_from(["beside", "sum", *(["attention"] if steps == 1 else [])]))
    turned = ["turned"] if steps == 1 and kind != "attention" else []
    shown = draw(st.sampled_from(["plain", "joined", "pooled", *turned]))
    # Attention takes counts of one norm only.
    known = wired(made, shape, steps, shown, norm=3.0 if kind == "attention" else None)
    if kind == "beside":
        current = made.same(made.concat(known, fired), 4)
    elif kind == "sum":
        current = made.add("Add", [made.same(known, 4), made.same(fired, 4)], shape)
    else:
        current = attended(made, fired, known)
    output = made.convolve(made.neuron(current), 2)
    if isinstance(made, TimedBuilder):
        output = made.mean(output)
    kinds: Any = st.sampled_from(["int8", "int16"])
    # The deployed network has constants for one sample.
    samples = images(rng, 1, image)
    return IntegerCase(made.model(image, output), samples, draw(kinds), samples, ())


def unfolded(case: IntegerCase) -> Graph:
    """The same network with its learned part still computed for every image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "precompute", lambda graph: graph)
        return case.lowered()


def depends_on_the_image(graph: Graph) -> dict[str, bool]:
    depends: dict[str, bool] = {}
    for node in graph.nodes:
        depends[node.name] = node.op == "input" or any(depends[name] for name in node.inputs)
    return depends


@settings(max_examples=DRAWS, suppress_health_check=SLOW)
@given(networks())
def test_only_what_an_image_changes_is_left(case: IntegerCase) -> None:
    graph, whole = case.lowered(), unfolded(case)
    check(graph)
    depends = depends_on_the_image(graph)
    assert all(depends[node.name] for node in graph.select("integrate_fire", "event_conv2d"))
    # The populations that meet the image, two where they are joined, or the sum of their currents.
    left = sum(always_fires(node) for node in graph.nodes)
    assert left <= 2
    assert len(list(graph.select("integrate_fire"))) + left < len(
        list(whole.select("integrate_fire"))
    )
    assert precompute(graph).nodes == graph.nodes


@settings(max_examples=DRAWS, suppress_health_check=SLOW)
@given(networks())
def test_results_and_all_other_work_stay_the_same(case: IntegerCase) -> None:
    graph, whole = case.lowered(), unfolded(case)
    # What is gone may have had the largest D.
    before = Simulator(whole, "events", 1).run(case.samples)
    runs = [
        Simulator(graph, engine, 1).run(case.samples, before.timesteps)
        for engine in ("events", "reference")
    ]
    deployed = run_deployed(graph, case.samples, optimised=True)
    for run in runs:
        assert differences(run, deployed) == []
        for name, counts in run.counts.items():
            np.testing.assert_array_equal(counts, before.counts[name])
        for name, values in run.outputs.items():
            np.testing.assert_array_equal(values, before.outputs[name])
    assert runs[0].layers == runs[1].layers
    work = {layer.name: layer for layer in before.layers}
    for layer in runs[0].layers:
        expected = work[layer.name]
        if layer.kind == "precomputed":
            expected = expected._replace(kind=layer.kind, neuron_updates=0, membrane_adds=0)
        # Sums of constants are gone; who adds what is left does not matter here.
        expected = expected._replace(membrane_adds=layer.membrane_adds)
        assert layer == expected
    assert len(runs[0].layers) < len(before.layers)


@settings(max_examples=DRAWS, suppress_health_check=SLOW)
@given(networks())
def test_fewer_timesteps_hand_on_fewer_of_the_learned_spikes(case: IntegerCase) -> None:
    graph = case.lowered()
    for timesteps in (1, 2, 255):
        run, other = (
            Simulator(graph, engine, 1).run(case.samples, timesteps)
            for engine in ("events", "reference")
        )
        assert run.layers == other.layers
        for node in filter(always_fires, graph.nodes):
            exact = np.minimum(graph.arrays(node)[0], timesteps)
            np.testing.assert_array_equal(run.counts[node.name][0], exact)


def spoiled(counts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One neuron fires once more, or less."""
    other = counts.copy()
    other.flat[0] += 1 if other.flat[0] == 0 else -1
    return other


def lowered_by_name() -> Graph:
    """A network whose learned spikes lie beside the image's."""
    made = IntegerBuilder(np.random.default_rng(5), 4, 1.0, "half_even")
    made.shapes["image"] = (2, 4, 4)
    fired = made.neuron(made.same("image", 4))
    current = made.same(made.concat(by_heart(made, (4, 4, 4), 1), fired), 4)
    content = made.model((2, 4, 4), made.convolve(made.neuron(current), 2))
    return pipeline.lower_content(content, "net", "int8")


def test_verification_compares_what_was_computed_beforehand() -> None:
    graph = lowered_by_name()
    (population,) = filter(always_fires, graph.nodes)
    x = np.random.default_rng(1).standard_normal((1, 2, 4, 4)).astype(np.float32)
    assert verify(graph, [x]).equivalent
    wrong = {population.params[0]: spoiled(graph.arrays(population)[0])}
    damaged = graph.rebuilt(graph.nodes, dict(graph.params) | wrong)
    report = verify(damaged, [x])
    assert not report.equivalent
    assert population.name in {layer.name for layer in report.layers if layer.mismatches}


@pytest.mark.parametrize("kind", ["joined", "pooled", "turned"])
def test_wiring_of_what_was_computed_beforehand_stays_wiring(kind: str) -> None:
    made = IntegerBuilder(np.random.default_rng(5), 4, 1.0, "half_even")
    made.shapes["image"] = (2, 4, 4)
    fired = made.neuron(made.same("image", 4))
    current = made.same(made.concat(wired(made, (4, 4, 4), 1, kind), fired), 4)
    content = made.model((2, 4, 4), made.convolve(made.neuron(current), 2))
    graph = pipeline.lower_content(content, "net", "int8")
    depends = depends_on_the_image(graph)
    known = [node for node in graph.nodes if not depends[node.name] and node.op in WIRING]
    fixed = [node for node in graph.nodes if always_fires(node)]
    network = pipeline.float_network(content, "net")
    assert known
    assert len(fixed) == (2 if kind == "joined" else 1)
    assert {node.name for node in fixed} <= {n.name for n in network.select("integer_fire")}
    x = np.random.default_rng(1).standard_normal((1, 2, 4, 4)).astype(np.float32)
    assert verify(graph, [x]).equivalent


def test_weights_as_trained_are_left_to_the_engines() -> None:
    made = IntegerBuilder(np.random.default_rng(5), 4, 1.0, "half_even")
    made.shapes["image"] = (2, 4, 4)
    fired = made.neuron(made.same("image", 4))
    current = made.add("Add", [made.same(by_heart(made, (4, 4, 4), 1), 4), made.same(fired, 4)],
                       (4, 4, 4))  # fmt: skip
    content = made.model((2, 4, 4), made.convolve(made.neuron(current), 2))
    graph = pipeline.lower_content(content, "net")
    assert precompute(graph).nodes == graph.nodes
    x = np.random.default_rng(1).standard_normal((1, 2, 4, 4)).astype(np.float32)
    assert verify(graph, [x]).equivalent


def test_constants_that_change_in_time_are_refused() -> None:
    made = TimedBuilder(np.random.default_rng(5), 4, 1.0, "half_even")
    x = made.started((2, 4, 4), framed=False)
    name = made.constant(made.rng.standard_normal((2, 4, 4, 4)))
    made.shapes[name] = (4, 4, 4)
    known = made.same(made.neuron(name), 4)
    fired = made.same(made.neuron(made.same(x, 4)), 4)
    total = made.neuron(made.add("Add", [known, fired], (4, 4, 4)))
    content = made.model((2, 4, 4), made.mean(made.convolve(total, 2)))
    with pytest.raises(UnsupportedPatternError, match="change in time"):
        pipeline.lower_content(content, "net", "int8")
