from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import NetworkBuilder

import s2f_deploy
from s2f_deploy import Graph, S2FError
from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.passes.pipeline import EVENT_PASSES, run_passes
from s2f_sim import simulate

IMAGE = (2, 4, 4)


def builder() -> NetworkBuilder:
    made = NetworkBuilder(np.random.default_rng(3), 4, 4.0, "half_even")
    made.shapes["image"] = IMAGE
    return made


def fired(made: NetworkBuilder) -> str:
    return made.neuron(made.conv("image", 4, 3, 1, 1, 1))


def lowered(made: NetworkBuilder, output: str) -> Graph:
    return run_passes(import_onnx(made.model(IMAGE, output), "net"), EVENT_PASSES)


def assert_like_onnx_runtime(made: NetworkBuilder, output: str, tolerance: float = 0.0) -> Graph:
    """Simulated output = ONNX Runtime's."""
    graph = lowered(made, output)
    x = (np.random.default_rng(5).integers(-16, 17, (1, *IMAGE)) / 8).astype(np.float32)
    (want,) = onnxruntime.InferenceSession(graph.reference).run(None, {"image": x})
    for run in (simulate(graph, x), simulate(graph, x, engine="reference")):
        (got,) = run.outputs.values()
        np.testing.assert_allclose(got, want.reshape(got.shape), rtol=tolerance, atol=tolerance)
    return graph


def test_an_unsupported_operator_is_refused_by_its_name() -> None:
    made = builder()
    bent = made.add("Sigmoid", [fired(made)], (4, 4, 4))
    output = made.neuron(bent)
    with pytest.raises(S2FError, match="Sigmoid nt2: has no place in an event-driven graph"):
        lowered(made, output)


def test_softmax_behind_the_last_synapse_becomes_the_host_tail() -> None:
    made = builder()
    pooled = made.add("ReduceMean", [fired_current(made), made.ints([2, 3])], (4,), keepdims=0)
    neuron = made.neuron(pooled, norm=1)
    logits = made.add("Gemm", [neuron, made.array((3, 4)), made.array((3,))], (3,), transB=1)
    graph = assert_like_onnx_runtime(made, made.add("Softmax", [logits], (3,)), 1e-6)
    (host,) = graph.select("host")
    assert host["macs"] == 0
    assert "Softmax" in host.origin


def fired_current(made: NetworkBuilder) -> str:
    return made.conv(fired(made), 4, 3, 1, 1, 1)


def test_multiplications_of_the_host_tail_are_counted_apart() -> None:
    made = builder()
    pooled = made.add("ReduceMean", [fired_current(made), made.ints([2, 3])], (4,), keepdims=0)
    bent = made.add("Tanh", [pooled], (4,))
    output = made.add("Gemm", [bent, made.array((3, 4)), made.array((3,))], (3,), transB=1)
    graph = assert_like_onnx_runtime(made, output, 1e-6)
    run = simulate(graph, np.zeros((1, *IMAGE), np.float32))
    (host,) = [layer for layer in run.layers if layer.kind == "host"]
    assert (host.mac, host.ac) == (12, 0)


def test_a_readout_of_real_values_is_counted_as_multiplications() -> None:
    made = builder()
    pooled = made.add("ReduceMean", [fired_current(made), made.ints([2, 3])], (4,), keepdims=0)
    output = made.add("Gemm", [pooled, made.array((3, 4)), made.array((3,))], (3,), transB=1)
    graph = assert_like_onnx_runtime(made, output, 1e-6)
    run = simulate(graph, np.zeros((1, *IMAGE), np.float32))
    (readout,) = [layer for layer in run.layers if layer.kind == "readout"]
    assert (readout.mac, readout.ac) == (12, 0)


def test_real_values_multiplied_before_a_neuron_are_refused() -> None:
    made = builder()
    chained = made.conv(fired_current(made), 4, 3, 1, 1, 2)
    with pytest.raises(S2FError, match="would multiply real values"):
        lowered(made, made.conv(made.neuron(chained), 2, 1, 1, 0, 1))


def test_channels_rearranged_before_weights_are_wired() -> None:
    made = builder()
    turned = made.add("Transpose", [fired(made)], (4, 4, 4), perm=[0, 2, 1, 3])
    graph = assert_like_onnx_runtime(made, made.conv(turned, 2, 1, 1, 0, 1))
    assert len(list(graph.select("rewire"))) == 1


def test_counts_added_without_weights_are_refused() -> None:
    made = builder()
    x = fired(made)
    total = made.add("Add", [x, x], (4, 4, 4))
    with pytest.raises(S2FError, match="without weights between"):
        lowered(made, made.neuron(total))


def test_a_product_that_is_no_attention_is_refused() -> None:
    made = builder()
    x = fired(made)
    with pytest.raises(S2FError, match="not queries, keys and values"):
        lowered(made, made.add("MatMul", [x, x], (4, 4, 4)))


def test_a_dilated_convolution_is_refused() -> None:
    made = builder()
    weight = made.array((2, 4, 3, 3))
    wide = made.add("Conv", [fired(made), weight], (2, 4, 4), pads=[2] * 4, dilations=[2, 2])
    with pytest.raises(S2FError, match="is dilated"):
        lowered(made, wide)


def test_double_precision_input_is_refused() -> None:
    made = builder()
    model = onnx.load_from_string(made.model(IMAGE, fired(made)))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    with pytest.raises(S2FError, match="not one float32 sample but double"):
        import_onnx(model.SerializeToString(), "net")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x89PNG\r\n\x1a\n" * 9])
def test_what_is_no_model_is_one_error(content: bytes) -> None:
    with pytest.raises(S2FError, match="no valid ONNX model"):
        import_onnx(content, "net")


def test_weights_in_another_file_are_never_opened() -> None:
    made = builder()
    model = onnx.load_from_string(made.model(IMAGE, fired(made)))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="secret")
    with pytest.raises(S2FError, match="another file"):
        import_onnx(model.SerializeToString(), "net")


def test_a_missing_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(S2FError, match="cannot read the ONNX file"):
        s2f_deploy.lower(tmp_path / "absent.onnx")


def test_constants_computed_in_the_model_are_folded() -> None:
    made = builder()
    x = fired(made)
    doubled = made.add("Add", [made.array((2, 4, 1, 1)), made.array((2, 4, 1, 1))], (2, 4, 1, 1))
    assert_like_onnx_runtime(made, made.add("Conv", [x, doubled], (2, 4, 4)))


def test_a_matrix_product_with_constants_is_a_linear_layer() -> None:
    made = builder()
    pooled = made.add("GlobalAveragePool", [fired_current(made)], (4, 1, 1))
    flat = made.add("Flatten", [made.neuron(pooled, norm=1)], (4,))
    assert_like_onnx_runtime(made, made.add("MatMul", [flat, made.array((4, 3))], (3,)))


def test_opset_and_ir_version_suit_onnx_runtime(tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    assert model.ir_version <= 10
    assert {o.domain: o.version for o in model.opset_import}[""] <= 20
    assert [n.op_type for n in model.graph.node].count("IntegerFire") == 45


def test_nodes_are_named_after_modules(tiny_onnx: Path) -> None:
    names = {node.name for node in onnx.load(tiny_onnx).graph.node}
    assert {"ConvBlock1_1.0.Conv.spike1", "block3.0.attn.q_conv.0/Conv", "head/Gemm"} <= names
