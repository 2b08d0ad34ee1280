"""The published networks, lowered: golden counts and golden synaptic operations."""

import hashlib
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from golden_weights import GoldenNetwork, fill_golden, golden_image

import s2f_deploy
from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.ops.neuron import round_counts
from s2f_models import create, record_counts
from s2f_sim import Simulator, simulate
from s2f_sim.error_bounds import spike_bound, trace
from s2f_sim.spike_roundings import spike_roundings

Export = Callable[[str, str], GoldenNetwork]


def digest(counts: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(counts).tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "golden"), [("e_spikeformer_t", "base_t_64"), ("e_spikeformer_s", "base_s_96")]
)
def test_events_give_the_golden_counts_and_operations(
    name: str, golden: str, golden_network: Export
) -> None:
    network = golden_network(name, golden)
    record, arrays, x = network.record, network.arrays, network.images[0]
    graph = s2f_deploy.lower(network.onnx)
    logits = onnxruntime.InferenceSession(graph.reference).run(None, {"image": x})[0]
    np.testing.assert_allclose(logits, arrays["output"], atol=1e-4)
    runs = [simulate(graph, x), simulate(graph, x, engine="reference")]
    for run in runs:
        fired = [(path, list(c.shape), digest(c)) for path, c in run.counts.items()]
        assert fired == [(n["path"], n["shape"], n["sha256"]) for n in record["neurons"]]
        np.testing.assert_allclose(run.outputs["logits"], arrays["output"], atol=1e-4)
        layers = {layer.name: layer for layer in run.layers}
        for want in record["layers"]:
            assert layers[want["path"]].dense_mac == want["macs"]
            assert layers[want["path"]].ac == (want["sops"] or 0)
        encoding = layers["downsample1_1.encode_conv"]
        assert (encoding.kind, encoding.mac) == ("encoding", record["layers"][0]["macs"])


def test_the_large_network_differs_only_where_rounding_explains_it(
    golden_network: Export,
) -> None:
    """E-SpikeFormer m, 224x224, every layer fed the float64 network's counts."""
    network = golden_network("e_spikeformer_m", "base_m_224")
    record, x = network.record, network.images[0]
    graph = s2f_deploy.lower(network.onnx)
    model = create("e_spikeformer_m")
    fill_golden(model, record["gain"])
    image = golden_image(tuple(record["input"]["shape"]), record["input"]["seed"])
    with torch.inference_mode(), record_counts(model) as recorded:
        model(torch.from_numpy(image))
    golden = {path: counts.numpy() for path, counts in recorded.items()}
    assert {path: digest(c) for path, c in golden.items()} == {
        n["path"]: n["sha256"] for n in record["neurons"]
    }
    run = Simulator(graph).run(x, forced=golden)
    layers = {layer.name: layer for layer in run.layers}
    for want in record["layers"]:
        assert layers[want["path"]].ac == (want["sops"] or 0)

    fed = {path: counts[0] for path, counts in golden.items()}
    roundings = spike_roundings(graph, fed)
    differing = 0
    for node, membrane in trace(import_onnx(graph.reference, "net"), x[0], fed):
        if node.op != "integer_fire":
            continue
        bound = spike_bound(node, membrane, roundings[node.name])
        counts = run.counts[node.name][0]
        low, high = (round_counts(membrane.value + s * bound, 4, "half_even") for s in (-1, 1))
        assert ((low <= counts) & (counts <= high)).all(), node.name
        differing += int((counts != fed[node.name]).sum())
    # Float32 weights and sums may move a membrane across a comparator, but hardly ever do.
    assert differing < 20
