"""SpikeYOLO as published: the lowered graph fires what the official network fires, all of it."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from golden_weights import golden_tensor
from numpy.typing import NDArray
from spike_yolo_golden import read_record, recorded_input

import s2f_deploy
import s2f_models
from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.ir.graph import Graph, Node
from s2f_deploy.ops import evaluate
from s2f_deploy.passes.pipeline import INTEGER_PASSES, run_passes
from s2f_sim.shown_counts import shown_counts

SUFFIXES = {
    "conv2d": ("weight", "bias"),
    "batch_norm": ("weight", "bias", "running_mean", "running_var"),
}


@dataclass(frozen=True)
class Golden:
    """What the official network gave, and ours at INTEGER level in double precision."""

    record: dict[str, Any]
    graph: Graph


@pytest.fixture(scope="module", params=["coco_n_128x96_T1", "gen1_n_96x64_T2"])
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """Traced once: that takes most of a minute."""
    record = read_record(request.param)
    path: Path = tmp_path_factory.mktemp("golden") / "net.onnx"
    classes = record["pred_shape"][1] - 4
    model = s2f_models.create(record["arch"], num_classes=classes, T=record["T"]).eval()
    s2f_deploy.export_onnx(model, (1, *record["input"]["shape"][1:]), path)
    names = set(model.state_dict())
    graph = import_onnx(path.read_bytes(), "net")
    params = dict(graph.params)
    nodes = []
    for node in graph.nodes:
        for param, suffix in zip(node.params, SUFFIXES.get(node.op, ()), strict=False):
            if f"{node.name}.{suffix}" in names:
                shape = params[param].shape
                params[param] = golden_tensor(f"{node.name}.{suffix}", shape, record["gain"])
        nodes.append(_in_double(node))
    graph = replace(graph, nodes=tuple(nodes), params=params)
    return Golden(record, run_passes(graph, INTEGER_PASSES))


def _in_double(node: Node) -> Node:
    """ONNX stores the norm's epsilon in single precision."""
    return node.with_attributes(epsilon=1e-3) if node.op == "batch_norm" else node


@pytest.fixture(scope="module")
def integers(golden: Golden) -> Graph:
    """Of one real timestep."""
    if golden.record["T"] > 1:
        pytest.skip("neurons that remember stay behind max pooling")
    return golden.graph


def test_every_count_is_the_published_networks(golden: Golden) -> None:
    (image,) = recorded_input(golden.record).numpy()
    values: dict[str, NDArray[Any]] = {}
    for node in golden.graph.nodes:
        if node.op in ("host", "output"):
            continue
        read = [values[name] for name in node.inputs]
        arrays = golden.graph.arrays(node)
        values[node.name] = evaluate(node, read, arrays) if read else image
    fired = {node.name: values[node.name] for node in golden.graph.select("integer_fire")}
    shown = shown_counts(golden.graph, fired)
    found = [
        [name, hashlib.sha256(shown[name].tobytes()).hexdigest()[:32]]
        for name, _, _ in golden.record["neurons"]
    ]
    assert found == [[name, digest] for name, _, digest in golden.record["neurons"]]


def test_populations_that_fire_alike_are_one(golden: Golden, integers: Graph) -> None:
    populations = [node.name for node in integers.select("integer_fire")]
    assert len(golden.record["neurons"]) == 88
    assert len(populations) == 83
    nodes = integers.by_name()
    assert nodes["model.26.cv3.0.0.lif"].inputs == ("model.20.lif",)
    assert nodes["model.18.lif"].inputs[1] == "model.5.encode_lif"
    assert nodes["model.14.lif"].inputs[1] == "model.7.encode_lif"
    source = nodes["model.12.Conv.lif1"].inputs[0]
    assert nodes["model.25.Conv.lif1"].inputs[1] == source


def test_chains_are_one_kernel_each_and_bias_nothing_but_channels(integers: Graph) -> None:
    layers = list(integers.select("conv2d"))
    assert len(layers) == 89
    assert {integers.arrays(layer)[1].ndim for layer in layers} == {1}
    weights = sum(integers.arrays(layer)[0].size for layer in layers)
    assert round(weights / 1e6, 1) == 34.5
