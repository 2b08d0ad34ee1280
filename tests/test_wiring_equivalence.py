"""Rewired memory, constants, attention between different tokens, spikes that read held membranes:
spikes, dense reference and ONNX Runtime agree on every bit, with float and integer weights."""

import numpy as np
import onnxruntime
import pytest
from deployed_runs import differences, run_deployed, run_replayed
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NetworkBuilder
from numpy.typing import NDArray

import s2f_deploy
from s2f_deploy import Graph
from s2f_deploy.passes.pipeline import Arithmetic
from s2f_sim import Simulator, verify

IMAGE = (3, 4, 6)


def tokens(made: NetworkBuilder, source: str) -> str:
    """[1, C, H, W] -> [1, C, N]."""
    channels, height, width = made.shapes[source]
    flat = (channels, height * width)
    return made.add("Reshape", [source, made.ints([1, *flat])], flat)


def conv1d(made: NetworkBuilder, source: str, outputs: int) -> str:
    channels, positions = made.shapes[source]
    arrays = [made.array((outputs, channels, 1)), made.array((outputs,))]
    return made.add("Conv", [source, *arrays], (outputs, positions), kernel_shape=[1])


def reread(made: NetworkBuilder, source: str) -> str:
    """(A, B) in memory taken as (B, A), then transposed: shape (A, B) again, elements elsewhere."""
    a, b = made.shapes[source]
    taken = made.add("Reshape", [source, made.ints([1, b, a])], (b, a))
    return made.add("Transpose", [taken], (a, b), perm=[0, 2, 1])


def scaled(made: NetworkBuilder, source: str) -> str:
    """Every channel times a number of its own."""
    channels = made.shapes[source][0]
    name = f"w{len(made.arrays)}"
    made.arrays[name] = (made.rng.integers(-3, 4, (channels, 1)) / 4).astype(np.float32)
    return made.add("Mul", [source, name], made.shapes[source])


def plus_map(made: NetworkBuilder, source: str) -> str:
    """A number of its own for every element, and then one for every channel."""
    shape = made.shapes[source]
    placed = made.add("Add", [source, made.array((1, *shape))], shape)
    return made.add("Add", [placed, made.array((1, shape[0], 1))], shape)


def heads(made: NetworkBuilder, source: str, count: int, *, transposed: bool) -> str:
    channels, positions = made.shapes[source]
    split = (count, channels // count, positions)
    shown = made.add("Reshape", [source, made.ints([1, *split])], split)
    if not transposed:
        return shown
    return made.add("Transpose", [shown], (split[0], split[2], split[1]), perm=[0, 1, 3, 2])


def cross_attention(made: NetworkBuilder, query: str, memory: str, *, scores_first: bool) -> str:
    """Currents [C, Q] of learned queries that look at the tokens of ``memory``."""
    channels, queries = made.shapes[query]
    positions = made.shapes[memory][1]
    fired = made.neuron(memory)
    q = made.neuron(conv1d(made, made.neuron(query), channels))
    k = made.neuron(conv1d(made, made.neuron(plus_map(made, memory)), channels))
    v = made.neuron(conv1d(made, fired, channels))
    q, v = (heads(made, x, 2, transposed=True) for x in (q, v))
    k = heads(made, k, 2, transposed=False)
    width = channels // 2
    if scores_first:
        held = made.add("MatMul", [q, k], (2, queries, positions))
        attended = made.add("MatMul", [held, v], (2, queries, width))
    else:
        held = made.add("MatMul", [k, v], (2, width, width))
        attended = made.add("MatMul", [q, held], (2, queries, width))
    name = f"w{len(made.arrays)}"
    made.arrays[name] = np.array(0.25, np.float32)
    attended = made.add("Mul", [attended, name], (2, queries, width))
    back = made.add("Transpose", [attended], (2, width, queries), perm=[0, 1, 3, 2])
    merged = made.add("Reshape", [back, made.ints([1, channels, queries])], (channels, queries))
    return conv1d(made, made.neuron(merged), channels)


def masks(made: NetworkBuilder, query: str, image: str) -> str:
    """[Q, H, W]: counts of every query times currents of every pixel."""
    channels, queries = made.shapes[query]
    _, height, width = made.shapes[image]
    projected = made.conv(made.neuron(image), channels, 1, 1, 0, 1)
    turned = made.add("Transpose", [query], (queries, channels), perm=[0, 2, 1])
    # Mixes queries: they are channels here.
    mixed = conv1d(made, made.neuron(turned), queries)
    total = made.add("Add", [mixed, turned], (queries, channels))
    product = made.add(
        "MatMul", [made.neuron(total), tokens(made, projected)], (queries, height * width)
    )
    shape = (queries, height, width)
    return made.add("Reshape", [product, made.ints([1, *shape])], shape)


@st.composite
def builders(draw: st.DrawFn) -> tuple[NetworkBuilder, list[str]]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rounding = draw(st.sampled_from(["half_even", "half_up"]))
    made = NetworkBuilder(rng, draw(st.integers(1, 6)), draw(st.sampled_from([1.0, 4.0])), rounding)
    made.shapes["image"] = IMAGE
    x = made.conv("image", 4, 3, draw(st.integers(1, 2)), 1, 1)
    flat = tokens(made, x)
    if draw(st.booleans()):
        moved = reread(made, conv1d(made, made.neuron(flat), 4))
        flat = made.add("Add", [flat, scaled(made, moved)], made.shapes[flat])
    if draw(st.booleans()):
        counts = reread(made, made.neuron(flat))
        flat = made.add("Add", [flat, conv1d(made, counts, 4)], made.shapes[flat])
    query = made.array((1, 4, 3), -12, 24)
    made.shapes[query] = (4, 3)
    attended = cross_attention(made, query, flat, scores_first=draw(st.booleans()))
    query = made.add("Add", [query, attended], (4, 3))
    outputs = [masks(made, query, x)]
    if draw(st.booleans()):
        outputs.append(conv1d(made, made.neuron(query), 5))
    if draw(st.booleans()):
        outputs[0] = made.conv(made.neuron(outputs[0]), 2, 3, 1, 1, 1)
    return made, outputs


def lowered(made: NetworkBuilder, outputs: list[str], arithmetic: Arithmetic) -> Graph:
    content = made.model(IMAGE, *outputs)
    calibration = sample(7) if made.levels % 2 else None
    if arithmetic == "float32":
        return s2f_deploy.lower_content(content, "net")
    return s2f_deploy.lower_content(content, "net", arithmetic, calibration=calibration)


def sample(seed: int) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).integers(-16, 17, (1, *IMAGE)) / 8).astype(np.float32)


@settings(max_examples=25)
@given(builders())
def test_float_weights(drawn: tuple[NetworkBuilder, list[str]]) -> None:
    made, outputs = drawn
    graph = lowered(made, outputs, "float32")
    x = sample(5)
    want = dict(
        zip(
            outputs,
            onnxruntime.InferenceSession(graph.reference).run(None, {"image": x}),
            strict=True,
        )
    )
    runs = [Simulator(graph, engine, 2).run(x) for engine in ("events", "reference")]
    runs.append(run_replayed(graph, x, threads=1))
    for run in runs:
        for name, value in run.outputs.items():
            np.testing.assert_array_equal(value, want[name], name)
    assert runs[0].layers == runs[1].layers == runs[2].layers
    report = verify(graph, [x])
    assert report.equivalent
    assert not report.mismatches


@settings(max_examples=25)
@given(builders(), st.sampled_from(["int8", "int16"]))
def test_integer_weights(drawn: tuple[NetworkBuilder, list[str]], arithmetic: Arithmetic) -> None:
    graph = lowered(*drawn, arithmetic)
    x = sample(6)
    runs = [Simulator(graph, engine, 2).run(x) for engine in ("events", "reference")]
    runs.append(run_replayed(graph, x, threads=1))
    assert runs[0].layers == runs[1].layers == runs[2].layers
    for optimised in (True, False):
        deployed = run_deployed(graph, x, optimised=optimised)
        for run in runs:
            assert differences(run, deployed) == []
    assert verify(graph, [x]).equivalent


@pytest.fixture(scope="module")
def network() -> Graph:
    """Everything at once, the same every time."""
    made = NetworkBuilder(np.random.default_rng(23), 4, 4.0, "half_even")
    made.shapes["image"] = IMAGE
    flat = tokens(made, made.conv("image", 4, 3, 1, 1, 1))
    moved = scaled(made, reread(made, conv1d(made, made.neuron(flat), 4)))
    flat = made.add("Add", [flat, moved], made.shapes[flat])
    query = made.array((1, 4, 3), -12, 24)
    made.shapes[query] = (4, 3)
    attended = cross_attention(made, query, flat, scores_first=True)
    shape = (4, 4, 6)
    image = made.add("Reshape", [flat, made.ints([1, *shape])], shape)
    return lowered(
        made, [masks(made, made.add("Add", [query, attended], (4, 3)), image)], "float32"
    )


def test_what_multiplies_is_told(network: Graph) -> None:
    """The scale behind rewired channels alone; the product of spikes and currents only adds."""
    run = Simulator(network).run(sample(1))
    chains = [layer for layer in run.layers if layer.kind == "chain"]
    assert [layer.mac for layer in chains] == [4 * 24]
    assert {layer.kind for layer in run.layers if layer.mac} == {"encoding", "chain"}


def test_additions_of_a_product_are_rows_per_spike(network: Graph) -> None:
    run = Simulator(network).run(sample(1))
    (product,) = network.select("product")
    layer = next(layer for layer in run.layers if layer.name == product.name)
    read = run.counts[product.inputs[1]]
    assert layer.spikes == int(read.sum(dtype=int)) > 0
    assert layer.ac == 3 * layer.spikes
    assert layer.dense_mac == 3 * 4 * 24


def test_additions_of_cross_attention_are_those_of_its_own_tokens(network: Graph) -> None:
    run = Simulator(network).run(sample(1))
    (attention,) = network.select("attention")
    layer = next(layer for layer in run.layers if layer.name == attention.name)
    query, key, value = (int(run.counts[name].sum(dtype=int)) for name in attention.inputs)
    additions = {"qk_v": 3 * (key + value), "q_kv": 2 * (key + query)}
    assert layer.ac == additions[attention["association"]] > 0
