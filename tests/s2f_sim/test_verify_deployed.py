"""Integer weights: no tolerance, and a record that others can repeat."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from s2f_deploy import Graph
from s2f_deploy.errors import ArtefactError, InputError
from s2f_sim import DeployedReport, Simulator, verify
from s2f_sim.certificate import read_certificate

Array = NDArray[Any]


def verified(graph: Graph, samples: Any, **options: Any) -> DeployedReport:
    report = verify(graph, samples, **options)
    assert isinstance(report, DeployedReport)
    return report


def mutated(graph: Graph, parameter: str, change: Callable[[Array], None]) -> Graph:
    array = graph.params[parameter].copy()
    change(array)
    return replace(graph, params=dict(graph.params) | {parameter: array})


@pytest.mark.parametrize("options", [{"engine": "reference"}, {"threads": 1}, {"threads": 2}])
def test_no_count_and_no_bit_differs(
    tiny_integers: Graph, images: Array, options: dict[str, Any]
) -> None:
    report = verified(tiny_integers, images, **options)
    assert report.equivalent
    assert (report.mismatches, report.samples) == (0, 3)
    neurons = list(tiny_integers.select("integrate_fire"))
    assert [layer.name for layer in report.layers] == [node.name for node in neurons]
    assert report.neurons == 3 * sum(int(np.prod(node.output.shape)) for node in neurons)
    assert not report.wide_layers
    assert 0 < report.changed < report.neurons / 3
    (output,) = report.outputs
    assert (output.name, output.values, output.mismatches) == ("logits", 9, 0)
    assert 0 < output.largest_difference < 1
    assert 0.9 < output.least_cosine < 1


def test_changed_counts_are_those_of_the_float_network(
    tiny_graph: Graph, tiny_integers: Graph, images: Array
) -> None:
    report = verified(tiny_integers, images[:1])
    trained, deployed = (Simulator(g).run(images[:1]).counts for g in (tiny_graph, tiny_integers))
    for layer in report.layers:
        assert layer.changed == int((trained[layer.name] != deployed[layer.name]).sum())


def test_int16_sums_are_split_and_nearer_to_the_float_network(
    tiny_graph: Graph, tiny_integers: Graph, images: Array
) -> None:
    from s2f_deploy import lower_content  # noqa: PLC0415

    wide = lower_content(tiny_graph.reference, "net", "int16", calibration=images[:2])
    report = verified(wide, images)
    assert report.equivalent
    assert report.wide_layers
    assert report.changed < verified(tiny_integers, images).changed


def test_one_wrong_weight_is_found(tiny_integers: Graph, images: Array) -> None:
    conv = next(tiny_integers.select("event_conv2d"))

    def by_one(weight: Array) -> None:
        weight[...] += np.where(weight < 127, 1, -1).astype(np.int8)

    report = verified(mutated(tiny_integers, conv.params[0], by_one), images)
    assert not report.equivalent
    reader = report.layers[
        [layer.name for layer in report.layers].index("ConvBlock1_1.0.Conv.spike2")
    ]
    assert reader.mismatches > 0


def test_margins_name_ties_exactly(tiny_integers: Graph, images: Array) -> None:
    """Against membranes that ONNX Runtime hands out for one layer."""
    report = verified(tiny_integers, images[:1])
    layer = next(layer for layer in report.layers if layer.name == "downsample2.encode_spike")
    model = onnx.load_from_string(tiny_integers.deployed)
    model.graph.output.append(onnx.ValueInfoProto(name=f"{layer.name}.membrane"))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    *_, membrane = session.run(None, {session.get_inputs()[0].name: images[:1]})
    distances = np.abs(membrane[..., None].astype(float) - (np.arange(4) + 0.5)).min(-1)
    assert layer.margin == distances.min()
    assert layer.ties == int((distances == 0).sum())


def test_a_certificate_can_be_repeated_without_this_program(
    tiny_integers: Graph, images: Array
) -> None:
    certificate = verified(tiny_integers, images[:2]).certificate
    assert certificate.equivalent
    assert certificate.deployed == hashlib.sha256(tiny_integers.deployed).hexdigest()
    model = onnx.load_from_string(tiny_integers.deployed)
    neurons = [node.name for node in tiny_integers.select("integrate_fire")]
    for name in neurons:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for image, sample in zip(images[:2], certificate.samples, strict=True):
        feed = {session.get_inputs()[0].name: image[None]}
        logits, *counts = session.run(None, feed)
        digest = hashlib.sha256()
        for name, value in zip(neurons, counts, strict=True):
            digest.update(f"{name} {'x'.join(map(str, value[0].shape))}\n".encode())
            digest.update(value[0].astype(np.uint8).tobytes())
        assert sample.counts == digest.hexdigest()
        assert sample.input == hashlib.sha256(image.tobytes()).hexdigest()
        head = hashlib.sha256(b"logits 3\n" + logits[0].tobytes())
        assert sample.outputs == head.hexdigest()


def test_certificates_differ_where_something_did(
    tiny_integers: Graph, images: Array, tmp_path: Path
) -> None:
    first = verified(tiny_integers, images[:2]).certificate
    path = tmp_path / "c.json"
    path.write_text(first.to_json())
    assert read_certificate(path) == first
    assert (
        verified(tiny_integers, images[:2], engine="reference").certificate.differences(first) == []
    )
    other = verified(tiny_integers, images[1:]).certificate
    assert "input of sample 0" in other.differences(first)
    fewer = verified(tiny_integers, images[:1]).certificate
    assert fewer.differences(first) == ["samples: 1, not 2"]
    changed = replace(tiny_integers, metadata={})
    assert verified(changed, images[:2]).certificate.differences(first) == []


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "null", '{"schema": "s2f/certificate/1", "samples": [{}]}', "[" * 100_000],
)
def test_what_is_no_certificate_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(content)
    with pytest.raises(InputError, match="no certificate"):
        read_certificate(path)


def test_a_certificate_of_another_schema_is_refused(
    tiny_integers: Graph, images: Array, tmp_path: Path
) -> None:
    entries = json.loads(verified(tiny_integers, images[:1]).certificate.to_json())
    path = tmp_path / "c.json"
    path.write_text(json.dumps(entries | {"schema": "s2f/certificate/9"}))
    with pytest.raises(InputError, match="certificate/9"):
        read_certificate(path)


def test_a_foreign_deployed_network_is_refused(
    tiny_integers: Graph, tiny_graph: Graph, images: Array
) -> None:
    for content, why in ((b"\xff" * 9, "damaged"), (tiny_graph.reference, "lacks")):
        with pytest.raises(ArtefactError, match=why):
            verify(replace(tiny_integers, deployed=content), images[:1])
