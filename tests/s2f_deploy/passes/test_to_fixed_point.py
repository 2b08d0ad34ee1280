"""Cases of the lowering to integers that random networks seldom meet."""

from dataclasses import replace

import numpy as np
import pytest
from deployed_runs import equivalent
from exact_integers import evaluated
from integer_builder import ExtremeBuilder
from networks import NetworkBuilder
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_deploy.ir.bounds import intervals
from s2f_deploy.ir.graph import DType, Graph
from s2f_deploy.passes.pipeline import lower_content
from s2f_sim import Simulator

SHAPE = (2, 4, 5)


@pytest.fixture
def builder() -> NetworkBuilder:
    made = NetworkBuilder(np.random.default_rng(4), 4, 3.0, "half_even")
    made.shapes["image"] = SHAPE
    return made


@pytest.fixture
def images() -> NDArray[np.float32]:
    return np.random.default_rng(5).standard_normal((3, *SHAPE)).astype(np.float32)


def lowered(builder: NetworkBuilder, *outputs: str) -> Graph:
    return lower_content(builder.model(SHAPE, *outputs), "net", "int8")


def test_counts_of_the_image_itself(builder: NetworkBuilder, images: NDArray[np.float32]) -> None:
    graph = lowered(builder, builder.conv(builder.neuron("image"), 3, 3, 1, 1, 1))
    neuron = next(graph.select("integrate_fire"))
    assert neuron.inputs == ("image.digitised",)
    assert equivalent(graph, images)


def test_the_image_added_to_a_current(builder: NetworkBuilder, images: NDArray[np.float32]) -> None:
    total = builder.add("Add", ["image", builder.conv("image", 2, 3, 1, 1, 1)], SHAPE)
    graph = lowered(builder, builder.conv(builder.neuron(total), 3, 3, 1, 1, 1))
    added = next(graph.select("add"))
    assert graph.node(added.inputs[0]).op == "align"
    assert equivalent(graph, images)


def test_the_host_sees_the_image_on_its_grid(
    builder: NetworkBuilder, images: NDArray[np.float32]
) -> None:
    """In the deployed network there is no other image."""
    output = builder.conv(builder.neuron(builder.conv("image", 2, 3, 1, 1, 1)), 3, 1, 1, 0, 1)
    graph = lowered(builder, output, builder.add("Softmax", ["image"], SHAPE, axis=3))
    (host,) = graph.select("host")
    assert graph.node(host.inputs[0]).op == "read_out"
    assert equivalent(graph, images)


def test_a_sum_is_as_wide_as_what_it_sums(images: NDArray[np.float32]) -> None:
    """Bounds alone would let it be narrower where weights are zero; accumulators never shrink."""
    builder = ExtremeBuilder(np.random.default_rng(4), 255, 1.0, "half_even")
    builder.spread = 0
    builder.shapes["image"] = SHAPE
    x = builder.same(builder.neuron(builder.convolve("image", 16)), 4)
    branches = []
    for _ in range(2):
        arrays = [builder.array((3, 4)), builder.array((3,))]
        builder.arrays[arrays[0]][:], builder.arrays[arrays[1]][:] = 0, 1
        branches.append(builder.add("Gemm", [builder.pooled(x), *arrays], (3,), transB=1))
    output = builder.add("Add", branches, (3,))
    graph = lower_content(builder.model(SHAPE, output), "net", "int16")
    assert {n.output.dtype for n in graph.select("linear", "add")} == {DType.INT64}
    assert intervals(graph)[next(graph.select("add")).name].fits(DType.INT32)
    assert not any(graph.select("align"))
    assert equivalent(graph, images)


def test_zeros_shift_nothing_that_they_are_added_to(builder: NetworkBuilder) -> None:
    """A silent channel of one branch takes the grid of its neighbours."""
    x = builder.conv("image", 4, 3, 1, 1, 1)
    y = builder.conv(builder.neuron(x), 4, 3, 1, 1, 1)
    for name in ("w0", "w1", "w2", "w3"):
        builder.arrays[name] *= np.float32(2**12)
    builder.arrays["w2"][1] = builder.arrays["w3"][1] = 0
    total = builder.add("Add", [x, y], builder.shapes[x])
    graph = lowered(builder, builder.conv(builder.neuron(total), 3, 1, 1, 0, 1))
    shifted = {n.inputs[0]: graph.arrays(n)[0].tolist() for n in graph.select("align")}
    assert "nt0" not in shifted
    assert max(shifted["nt2"]) < 12


def test_one_shift_for_all_channels(builder: NetworkBuilder, images: NDArray[np.float32]) -> None:
    """The type rule allows it, so both engines must do it."""
    x = builder.conv("image", 20, 3, 1, 1, 1)
    y = builder.conv(builder.neuron(x), 20, 3, 1, 1, 1)
    total = builder.add("Add", [x, y], builder.shapes[x])
    graph = lowered(builder, builder.conv(builder.neuron(total), 3, 1, 1, 0, 1))
    align = next(graph.select("align"))
    one = replace(graph, params={**graph.params, align.params[0]: np.array([3], np.uint8)})
    events, reference = (
        Simulator(one, "events", threads=1).run(images),
        Simulator(one, "reference").run(images),
    )
    for name, counts in reference.counts.items():
        np.testing.assert_array_equal(events.counts[name], counts)


@pytest.mark.parametrize("pixel", [np.nan, np.inf, 1e30])
def test_calibration_images_of_no_pixels_are_refused(
    builder: NetworkBuilder, images: NDArray[np.float32], pixel: float
) -> None:
    output = builder.conv(builder.neuron(builder.conv("image", 2, 3, 1, 1, 1)), 3, 1, 1, 0, 1)
    images[1, 0, 2, 2] = pixel
    with pytest.raises(InputError, match="no pixels"):
        lower_content(builder.model(SHAPE, output), "net", "int8", calibration=images)


def test_the_bias_behind_a_rearranged_image_lies_on_its_fine_grid(builder: NetworkBuilder) -> None:
    """One unit of such a layer's membrane is a weight's unit times a pixel's."""
    flat = builder.add("Reshape", ["image", builder.ints([1, 2, 20])], (2, 20))
    weight, bias = builder.array((3, 2, 1)), builder.array((3,))
    builder.arrays[weight] += np.float32(0.01)
    builder.arrays[bias] += np.float32(0.0123)
    output = builder.add("Conv", [flat, weight, bias], (3, 20), kernel_shape=[1])
    graph = lowered(builder, output)
    conv, real = next(graph.select("conv2d")), next(graph.select("read_out"))
    (exponents,) = graph.arrays(real)
    snapped = np.ldexp(graph.arrays(conv)[1], exponents)
    pixel = next(graph.select("digitise"))["exponent"]
    assert (np.abs(snapped - builder.arrays[bias]) <= np.ldexp(0.5, exponents)).all()
    assert (exponents <= pixel - 7).all()


def test_attention_beyond_32_bits_is_calibrated() -> None:
    """The type of its sums is not chosen yet when weights are."""
    builder = ExtremeBuilder(np.random.default_rng(4), 255, 1.0, "half_even")
    builder.spread = 0
    builder.shapes["image"] = (1, 8, 8)
    attended = builder.attention(builder.neuron(builder.convolve("image", 8)), 1, scores_first=True)
    output = builder.convolve(builder.neuron(attended), 3)
    for name, array in builder.arrays.items():
        builder.arrays[name] = np.abs(array)
    images = np.full((1, 1, 8, 8), 1e4, np.float32)
    content = builder.model((1, 8, 8), output)
    graph = lower_content(content, "net", "int8", calibration=images)
    assert graph.metadata["quantisation"]["counts_changed"] == 0
    attention = next(graph.select("attention"))
    assert evaluated(graph, images[0])[attention.name].max() == 255**3 * 64 * 8
    assert equivalent(graph, images)


def test_pixels_beyond_all_floats_of_the_grid_are_clipped(
    builder: NetworkBuilder, images: NDArray[np.float32]
) -> None:
    graph = lowered(
        builder, builder.conv(builder.neuron(builder.conv("image", 2, 3, 1, 1, 1)), 3, 1, 1, 0, 1)
    )
    largest = np.float32(np.finfo(np.float32).max)
    beyond = np.where(images > 0, largest, -largest)
    assert equivalent(graph, beyond)
    within = Simulator(graph, threads=1).run(np.sign(images) * np.float32(1e3))
    run = Simulator(graph, threads=1).run(beyond)
    for name, counts in within.counts.items():
        np.testing.assert_array_equal(run.counts[name], counts)
