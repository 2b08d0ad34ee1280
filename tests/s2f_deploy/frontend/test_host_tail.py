"""What the host computes, and what stays on the chip although it comes last."""

import numpy as np
import onnxruntime
import pytest
from networks import NetworkBuilder

from s2f_deploy import Graph
from s2f_deploy.passes.pipeline import Arithmetic, lower_content
from s2f_sim import simulate, verify

IMAGE = (2, 4, 3)


def enlarged(*, squashed: bool, returned: bool) -> tuple[bytes, list[str]]:
    """A map between whose pixels something reads: a sigmoid, the caller, or both."""
    made = NetworkBuilder(np.random.default_rng(3), 4, 2.0, "half_even")
    made.shapes["image"] = IMAGE
    current = made.conv(made.neuron(made.conv("image", 4, 3, 1, 1, 1)), 3, 1, 1, 0, 1)
    large = made.interpolated(current)
    outputs = [large] if returned else []
    if squashed:
        outputs.append(made.add("Sigmoid", [large], made.shapes[large]))
    return made.model(IMAGE, *outputs), outputs


def lowered(content: bytes, outputs: list[str], arithmetic: Arithmetic) -> Graph:
    """Equal to ONNX Runtime, which the float network's sums let be exact."""
    graph = lower_content(content, "net", arithmetic)
    x = (np.random.default_rng(2).integers(-16, 17, (1, *IMAGE)) / 8).astype(np.float32)
    want = onnxruntime.InferenceSession(content).run(outputs, {"image": x})
    found = simulate(graph, x).outputs
    if arithmetic == "float32":
        for name, value in zip(outputs, want, strict=True):
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-6)
    assert verify(graph, [x]).equivalent
    return graph


@pytest.mark.parametrize("arithmetic", ["float32", "int8"])
def test_a_map_that_only_the_host_reads_is_enlarged_there(arithmetic: Arithmetic) -> None:
    graph = lowered(*enlarged(squashed=True, returned=False), arithmetic)
    assert not list(graph.select("bilinear_upsample"))
    (host,) = graph.select("host")
    assert graph.node(host.inputs[0]).output.shape == (3, 4, 3)
    assert host["macs"] == 4 * 3 * 8 * 6


@pytest.mark.parametrize("squashed", [False, True])
def test_a_map_that_is_returned_is_shifted_and_added(squashed: bool) -> None:
    graph = lowered(*enlarged(squashed=squashed, returned=True), "int8")
    assert len(list(graph.select("bilinear_upsample"))) == 1
    assert [node["macs"] for node in graph.select("host")] == [0] * squashed
