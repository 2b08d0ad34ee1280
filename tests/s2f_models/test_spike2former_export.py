"""The network as ONNX: a reference that any runtime executes, and that a compiler can read."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from golden_weights import golden_image
from onnx import helper
from spike2former_golden import TINY, let_fire

import s2f_deploy
from s2f_models import Spike2Former, record_counts

SIZE = (32, 48)
OPERATORS = {
    "Add",
    "BatchNormalization",
    "Concat",
    "Constant",
    "Conv",
    "DeformableSampleDyadic",
    "Div",
    "IntegerFire",
    "MatMul",
    "Mul",
    "Pad",
    "Reshape",
    "Resize",
    "Transpose",
}


@pytest.fixture(scope="module")
def model() -> Spike2Former:
    """As small as can be: tracing takes most of a minute otherwise."""
    made = replace(TINY, depths=(1, 0), decoder_layers=1, offset_bits=4).build()
    let_fire(made, seed=2)
    return made


@pytest.fixture(scope="module")
def path(model: Spike2Former, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("spike2former") / "net.onnx"
    s2f_deploy.export_onnx(model, model.config.input_shape(*SIZE), written)
    return written


def test_onnx_runtime_says_what_the_network_says(model: Spike2Former, path: Path) -> None:
    session = onnxruntime.InferenceSession(path)
    assert [output.name for output in session.get_outputs()] == ["class_logits", "mask_logits"]
    for seed in range(3):
        image = torch.from_numpy(golden_image(model.config.input_shape(*SIZE), seed)).float()
        with torch.inference_mode(), record_counts(model) as counts:
            wanted = model(image)
        assert all(fired.any() for fired in counts.values())
        for found, x in zip(session.run(None, {"image": image.numpy()}), wanted, strict=True):
            np.testing.assert_allclose(found, x.numpy(), rtol=0, atol=1e-4)


def test_graph_has_nothing_but_what_a_compiler_reads(model: Spike2Former, path: Path) -> None:
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    nodes = proto.graph.node
    assert {node.op_type for node in nodes} <= OPERATORS
    assert {f.name for f in proto.functions} == {"DeformableSampleDyadic", "IntegerFire"}
    fires = [node.name for node in nodes if node.op_type == "IntegerFire"]
    with torch.inference_mode(), record_counts(model) as counts:
        model(torch.zeros(model.config.input_shape(*SIZE)))
    assert sorted(fires) == sorted(counts)
    (sampling,) = [node for node in nodes if node.op_type == "DeformableSampleDyadic"]
    said = {a.name: helper.get_attribute_value(a) for a in sampling.attribute}
    assert said == {"groups": 4, "kernel": 3, "bits": 4}
    assert sampling.name == "decode_head.pixel_decoder.encoder.layers.0.dcn.sampler"


def test_every_reread_is_one_reshape(path: Path) -> None:
    nodes = [node for node in onnx.load(path).graph.node if "reread" in node.name]
    assert Counter(node.name for node in nodes) == {
        f"decode_head.{place}/Reshape": 1
        for place in (
            "pixel_decoder.encoder.layers.0.dcn.reread_offset",
            "pixel_decoder.encoder.layers.0.dcn.reread_mask",
            "pixel_decoder.encoder.layers.0.reread_ffn",
            "transformer_decoder.layers.0.ffn.reread_input",
            "transformer_decoder.layers.0.ffn.reread_output",
        )
    }


def test_maps_are_enlarged_as_the_compiler_expects(path: Path) -> None:
    resizes = [node for node in onnx.load(path).graph.node if node.op_type == "Resize"]
    for node in resizes:
        said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        assert (said["mode"], said["coordinate_transformation_mode"]) == (b"linear", b"half_pixel")
    assert len(resizes) == 3
