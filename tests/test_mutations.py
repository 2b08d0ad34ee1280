"""The comparison notices: one integer of the event graph moved by one, and it must fail.

A comparison that cannot fail proves nothing. Where a change reaches no count and no output, as
Python's integers say, the comparison must still hold.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deployed_runs import deployed_tensors, equivalent
from exact_integers import evaluated
from networks import NetworkBuilder
from numpy.typing import NDArray

import s2f_deploy
import s2f_sim
from s2f_deploy.errors import IllegalGraphError, S2FError
from s2f_deploy.ir.graph import Graph, Node
from s2f_deploy.ir.verify import verify
from s2f_deploy.passes.pipeline import lower_content

Samples = NDArray[np.float32]
Compare = Callable[[Graph, Samples], bool]
SHAPE = (2, 6, 7)


def verified(graph: Graph, samples: Samples) -> bool:
    return s2f_sim.verify(graph, [samples], threads=1).equivalent


@pytest.fixture(params=[equivalent, verified])
def compare(request: pytest.FixtureRequest) -> Compare:
    chosen: Compare = request.param
    return chosen


@pytest.fixture(scope="module", params=["half_even", "half_up"])
def rounding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def graph(rounding: str) -> Graph:
    """Residual sum, attention and readout; weights of few bits, so that ties occur."""
    builder = NetworkBuilder(np.random.default_rng(8), 4, 2.0, rounding)
    builder.shapes["image"] = SHAPE
    x = builder.conv("image", 6, 3, 1, 1, 1)
    y = builder.conv(builder.neuron(x), 6, 3, 1, 1, 1)
    x = builder.add("Add", [x, y], builder.shapes[x])
    attended = builder.attention(builder.neuron(x), 2, scores_first=True)
    y = builder.conv(builder.neuron(attended), 6, 1, 1, 0, 1)
    x = builder.add("Add", [x, y], builder.shapes[x])
    output = builder.conv(builder.neuron(x), 3, 3, 2, 0, 1)
    return lower_content(builder.model(SHAPE, output), "net", "int8")


@pytest.fixture(scope="module")
def samples() -> Samples:
    pixels = np.random.default_rng(1).integers(-12, 13, (2, *SHAPE)) / 8
    return pixels.astype(np.float32)


def mutated(graph: Graph, name: str, at: Any, change: int) -> Graph:
    """The graph with one element of one array moved; it stays within the array's type."""
    array = graph.params[name].copy()
    moved = int(array[at]) + change
    array[at] = moved if np.iinfo(array.dtype).min <= moved <= np.iinfo(array.dtype).max else -moved
    return replace(graph, params={**graph.params, name: array})


def answers(graph: Graph, samples: Samples) -> list[list[Any]]:
    """Every count and every output, in Python's own integers."""
    seen = [node.name for node in graph.select("integrate_fire", "output")]
    values = [evaluated(graph, sample) for sample in samples]
    return [value[name].ravel().tolist() for value in values for name in seen]


def test_nothing_moved(graph: Graph, samples: Samples, compare: Compare) -> None:
    assert compare(graph, samples)


@pytest.mark.parametrize(
    ("part", "op"),
    [
        (0, "conv2d"),
        (1, "conv2d"),
        (0, "event_conv2d"),
        (1, "event_conv2d"),
        (0, "integrate_fire"),
        (0, "align"),
        (0, "read_out"),
    ],
)
def test_any_integer_moved_by_one_shows_if_it_matters(
    graph: Graph, samples: Samples, compare: Compare, part: int, op: str
) -> None:
    """Weights, biases, comparators, shifts and exponents, drawn at random."""
    rng = np.random.default_rng(part)
    want, noticed = answers(graph, samples), 0
    nodes = list(graph.select(op))
    assert nodes
    for trial in range(16 if op == "integrate_fire" else 8):
        name = nodes[trial % len(nodes)].params[part]
        at = tuple(rng.integers(0, graph.params[name].shape))
        changed = mutated(graph, name, at, int(rng.choice([-1, 1])))
        matters = answers(changed, samples) != want
        assert compare(changed, samples) == (not matters)
        noticed += matters
    assert noticed


def test_every_weight_of_the_readout_shows(
    graph: Graph, samples: Samples, compare: Compare
) -> None:
    *_, readout = graph.select("event_conv2d")
    (source,) = readout.inputs
    counts = [evaluated(graph, sample)[source] for sample in samples]
    channel = int(np.argmax(sum(value.sum((1, 2)) for value in counts)))
    for y, x, output in np.ndindex(3, 3, 3):
        changed = mutated(graph, readout.params[0], (y, x, channel, output), 1)
        under_tap = [value[channel, y : y + 4 : 2, x : x + 5 : 2].sum() for value in counts]
        assert compare(changed, samples) != any(under_tap)


def test_a_comparator_that_a_membrane_hits(
    graph: Graph, samples: Samples, compare: Compare
) -> None:
    tried = 0
    for neuron in graph.select("integrate_fire"):
        table = graph.arrays(neuron)[0]
        membranes = [evaluated(graph, sample)[neuron.inputs[0]] for sample in samples]
        hit = [
            at
            for at in np.ndindex(table.shape)
            if any((membrane[at[1]] == table[at]).any() for membrane in membranes)
        ]
        for at in hit[:3]:
            assert not compare(mutated(graph, neuron.params[0], at, 1), samples)
            tried += 1
    assert tried > 5


def ties(graph: Graph, samples: Samples, neuron: Node) -> list[tuple[int, int, int]]:
    """(d, channel, units) of every membrane exactly at d − ½, as ONNX Runtime sees it."""
    name = f"{neuron.name}.membrane"
    real = deployed_tensors(graph, samples, [name], optimised=False)[name]
    units = [evaluated(graph, sample)[neuron.inputs[0]] for sample in samples]
    found = []
    for at in zip(*np.nonzero(real % 1 == 0.5), strict=True):
        d = int(real[at] + 0.5)
        if 1 <= d <= neuron["levels"]:
            found.append((d, int(at[1]), int(units[at[0]][at[1:]])))
    return found


@pytest.mark.parametrize("odd", [True, False])
def test_a_tie_decided_the_other_way(
    graph: Graph, samples: Samples, compare: Compare, rounding: str, odd: bool
) -> None:
    """Half to even fires at ties of an even d only, half up at every tie."""
    strict, tried = rounding == "half_even" and odd, 0
    for neuron in graph.select("integrate_fire"):
        for d, channel, units in [t for t in ties(graph, samples, neuron) if t[0] % 2 == odd][:2]:
            at = (d - 1, channel)
            assert graph.arrays(neuron)[0][at] == units + strict
            assert not compare(mutated(graph, neuron.params[0], at, -1 if strict else 1), samples)
            tried += 1
    assert tried


def rebuilt(graph: Graph, name: str, values: NDArray[Any]) -> Graph:
    return replace(graph, params={**graph.params, name: values})


@pytest.mark.parametrize("op", ["conv2d", "event_conv2d"])
def test_weights_that_could_wrap_are_refused(graph: Graph, op: str, tmp_path: Path) -> None:
    node = next(graph.select(op))
    weight, bias = (graph.params[name] for name in node.params)
    heavy = weight.astype(np.int32)
    heavy[(0,) * heavy.ndim] = 2**30
    lifted = bias.copy()
    lifted[0] = 2**31 - 2
    for name, values in ((node.params[0], heavy), (node.params[1], lifted)):
        changed = rebuilt(graph, name, values)
        with pytest.raises(IllegalGraphError, match=f"the sums of {node.name} can reach"):
            verify(changed)
        s2f_deploy.save(changed, tmp_path / "net.s2f")
        with pytest.raises(IllegalGraphError, match=node.name):
            s2f_deploy.load(tmp_path / "net.s2f")


def test_a_shift_that_could_wrap_is_refused(graph: Graph) -> None:
    node = next(graph.select("align"))
    (shifts,) = graph.arrays(node)
    with pytest.raises(IllegalGraphError, match="the sums of"):
        verify(rebuilt(graph, node.params[0], shifts + np.uint8(20)))
    with pytest.raises(IllegalGraphError, match=f"{node.name} aligns"):
        verify(rebuilt(graph, node.params[0], shifts + np.uint8(62)))


@pytest.mark.parametrize(("op", "part"), [("event_conv2d", 1), ("integrate_fire", 0)])
def test_arrays_of_another_type_are_refused(graph: Graph, op: str, part: int) -> None:
    """The engines accumulate and compare in the type of the arrays: it must be the node's."""
    node = next(graph.select(op))
    values = graph.arrays(node)[part]
    for dtype in (np.int16, np.int64, np.float32):
        with pytest.raises(S2FError, match=node.name):
            verify(rebuilt(graph, node.params[part], values.astype(dtype)))
