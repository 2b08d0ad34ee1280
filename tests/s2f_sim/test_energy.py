import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType, Graph, Node, TensorType, attributes
from s2f_deploy.ops import OPS
from s2f_sim.energy import energy
from s2f_sim.run import LayerCounts, Run
from s2f_sim.simulator import Simulator

SPIKEYOLO = Path(__file__).parents[1] / "golden" / "spikeyolo_23m_layers.csv"

ENCODING = LayerCounts("conv0", "encoding", (4, 8, 8), 2, mac=200, dense_mac=200, padded_mac=240)
NEURON = LayerCounts(
    "fire0",
    "neuron",
    (4, 8, 8),
    2,
    spikes_by_timestep=(60, 40),
    neuron_updates=1024,
    membrane_adds=512,
)
SYNAPSE = LayerCounts(
    "conv1",
    "synapse",
    (8, 8, 8),
    2,
    inputs=256,
    spikes_by_timestep=(60, 40),
    ac_by_timestep=(500, 300),
    dense_mac=9000,
    padded_mac=10240,
)
ATTENTION = LayerCounts(
    "attn",
    "attention",
    (8, 64),
    2,
    inputs=512,
    spikes_by_timestep=(64, 64),
    ac_by_timestep=(1000, 24),
    dense_mac=4096,
    padded_mac=4096,
)
READOUT = LayerCounts("head", "readout", (3,), 2, mac=48, dense_mac=48, padded_mac=48)
HOST = LayerCounts("softmax", "host", (3,), 2, mac=14)


def run_of(*layers: LayerCounts, samples: int = 2, timesteps: int = 2) -> Run:
    return Run({}, {}, layers, timesteps, 2, 3, samples, "events", 0.1)


def test_convention_charges_products_and_estimated_accumulations_per_sample() -> None:
    report = energy(run_of(ENCODING, NEURON, SYNAPSE, ATTENTION, READOUT, HOST))
    mean = 100 / 512
    want = (4.6 * 240 + 0.9 * mean * 10240 + 4.6 * 48) / 2
    assert report.count_rule == "meanfield"
    assert report.energy_pj == pytest.approx(want, rel=1e-12)
    assert report.total("energy_events_pj") == pytest.approx(
        (4.6 * 200 + 0.9 * 800 + 4.6 * 48) / 2, rel=1e-12
    )
    assert report.ann_pj == pytest.approx(4.6 * (240 + 10240 + 48) / 2, rel=1e-12)
    assert report.total("ann_dense_pj") == pytest.approx(4.6 * (200 + 9000 + 48) / 2, rel=1e-12)
    assert report.ratio == pytest.approx(report.ann_pj / want)
    assert report.total("ac_events") == 400
    assert report.total("mac") == 124


def test_attention_is_reported_but_charged_only_where_the_profile_says(
    profile_file: Callable[..., Path],
) -> None:
    run = run_of(ENCODING, ATTENTION)
    convention = energy(run)
    assert convention.layers[1].ac_events == 512
    assert not convention.layers[1].charged
    assert convention.not_charged.attention_ac_events == 512
    assert convention.not_charged.attention_energy_events_pj == pytest.approx(0.9 * 512)
    mean = 128 / 1024
    assert convention.not_charged.attention_energy_meanfield_pj == pytest.approx(
        0.9 * mean * 4096 / 2
    )
    charging = energy(run, profile_file(charge_attention="true"))
    assert charging.layers[1].charged
    assert charging.not_charged.attention_ac_events == 0
    assert charging.total("energy_events_pj") == pytest.approx(4.6 * 100 + 0.9 * 512)
    assert charging.ann_pj == pytest.approx(4.6 * (120 + 2048))


def test_host_products_and_membrane_sums_are_named_but_in_no_total() -> None:
    with_host, without = energy(run_of(ENCODING, NEURON, HOST)), energy(run_of(ENCODING))
    assert with_host.energy_pj == without.energy_pj
    assert with_host.ann_pj == without.ann_pj
    assert with_host.not_charged.host_mac == 7
    assert with_host.not_charged.membrane_adds == 256


def test_count_rule_decides_what_the_total_means(profile_file: Callable[..., Path]) -> None:
    report = energy(run_of(SYNAPSE), profile_file(count_rule='"events"'))
    assert report.energy_pj == pytest.approx(0.9 * 400)
    assert report.ann_pj == pytest.approx(4.6 * 4500)


def test_first_layer_can_be_charged_as_accumulations(profile_file: Callable[..., Path]) -> None:
    report = energy(run_of(ENCODING, READOUT), profile_file(first_layer='"ac"'))
    assert report.energy_pj == pytest.approx((0.9 * 240 + 4.6 * 48) / 2)


def test_neuron_terms_are_priced_by_what_a_neuron_did(profile_file: Callable[..., Path]) -> None:
    report = energy(
        run_of(NEURON), profile_file(neuron_idle_pj=0.5, neuron_active_pj=2.0, spike_out_pj=3.0)
    )
    assert report.energy_pj == pytest.approx((0.5 * (1024 - 100) + 5.0 * 100) / 2)


def test_assumed_values_are_listed_with_their_share(profile_file: Callable[..., Path]) -> None:
    report = energy(run_of(ENCODING, NEURON), profile_file(spike_out_pj=3.0))
    shares = {value.key: value.share for value in report.assumed}
    total = 4.6 * 240 + 3.0 * 100
    assert shares == pytest.approx(
        {"neuron_idle_pj": 0, "neuron_active_pj": 0, "spike_out_pj": 300 / total}
    )


def test_missing_price_is_unknown_and_said_so(profile_file: Callable[..., Path]) -> None:
    report = energy(run_of(NEURON), profile_file(spike_out_pj=None))
    assert report.unknown_terms == ("spike_out_pj",)
    assert report.ratio is None


def test_report_has_no_latency_and_is_json() -> None:
    report = energy(run_of(ENCODING, NEURON, SYNAPSE, ATTENTION, READOUT, HOST))
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert "latency" not in text
    found = json.loads(text)
    assert found["schema"] == "s2f/energy/1"
    assert found["total"]["energy_pj"] == report.energy_pj
    assert found["layers"][2]["ac_events"] == 400
    assert found["profile"] == "cmos45-horowitz"
    assert found["evidence"] == "convention"
    assert len(found["profile_digest"]) == 64


def test_border_identity_100_of_144() -> None:
    """Hardware reference, X-2: 3x3 on a 4x4 map of ones, one channel."""
    source = TensorType((1, 4, 4), DType.COUNT, 1)
    node = Node(
        "conv",
        "event_conv2d",
        ("fire",),
        ("w", "b"),
        TensorType((1, 4, 4), DType.FLOAT32),
        "Conv",
        attributes(stride=(1, 1), padding=(1, 1, 1, 1), groups=1),
    )
    op = OPS["event_conv2d"]
    params: list[NDArray[Any]] = [np.ones((3, 3, 1, 1), np.float32), np.zeros(1)]
    assert op.fan_out is not None
    assert op.padded_macs is not None
    assert op.dense_macs is not None
    layer = LayerCounts(
        "conv",
        "synapse",
        (1, 4, 4),
        1,
        inputs=16,
        spikes_by_timestep=(16,),
        ac_by_timestep=(int(op.fan_out(node, source, params).sum()),),
        dense_mac=op.dense_macs(node, [source], params),
        padded_mac=op.padded_macs(node, [source], params),
    )
    (priced,) = energy(run_of(layer, samples=1)).layers
    assert (priced.ac_events, priced.ac_meanfield) == (100, 144)
    assert priced.energy_events_pj == pytest.approx(90)
    assert priced.energy_meanfield_pj == pytest.approx(129.6)
    assert priced.ann_dense_pj == pytest.approx(460)
    assert priced.ann_padded_pj == pytest.approx(662.4)


@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_rate_vocabulary(levels: int, seed: int) -> None:
    """Hardware reference, X-4, for one real timestep: V = D."""
    counts = np.random.default_rng(seed).integers(0, levels + 1, 50)
    spikes = tuple(int((counts >= d).sum()) for d in range(1, levels + 1))
    layer = LayerCounts(
        "conv", "synapse", (1,), 1, inputs=50, spikes_by_timestep=spikes, padded_mac=100
    )
    (priced,) = energy(Run({}, {}, (layer,), levels, levels, 1, 1, "events", 0.0)).layers
    nonzero_fraction = np.count_nonzero(counts) / 50
    assert priced.mean_activation == pytest.approx(counts.mean())
    assert levels * priced.spike_rate == pytest.approx(priced.mean_activation)
    assert nonzero_fraction / levels <= priced.spike_rate + 1e-12
    assert priced.spike_rate <= nonzero_fraction + 1e-12


def spikeyolo() -> Run:
    """Appendix A of the hardware reference as a run whose means are exact."""
    layers = []
    with SPIKEYOLO.open() as file:
        for row in csv.DictReader(file):
            side, k, stride = int(row["H"]), int(row["k"]), int(row["stride"])
            channels = int(row["cin"]) * int(row["cout"]) // int(row["groups"])
            macs = channels * k * k * side * side // stride**2
            is_image = row["mean"] == "image"
            layers.append(
                LayerCounts(
                    row["layer"],
                    "encoding" if is_image else "synapse",
                    (),
                    1,
                    inputs=0 if is_image else 10_000,
                    spikes_by_timestep=() if is_image else (round(float(row["mean"]) * 10_000),),
                    mac=macs if is_image else 0,
                    dense_mac=macs,
                    padded_mac=macs,
                )
            )
    return run_of(*layers, samples=1)


@pytest.mark.parametrize(
    ("profile", "energy_mj", "ann_mj"),
    [
        ("cmos45-horowitz", 34.6001590272, 465.572167680),
        ("cmos45-horowitz-fp16", 15.247, 151.82),
        ("cmos45-horowitz-int32", 4.492, 323.88),
        ("cmos45-horowitz-int8", 1.1718, 23.279),
    ],
)
def test_published_spreadsheet_is_reproduced(profile: str, energy_mj: float, ann_mj: float) -> None:
    """Hardware reference, X-1: SpikeYOLO-23M."""
    report = energy(spikeyolo(), profile)
    exact = profile == "cmos45-horowitz"
    assert report.energy_pj / 1e9 == pytest.approx(energy_mj, rel=1e-11 if exact else 1e-4)
    assert report.ann_pj / 1e9 == pytest.approx(ann_mj, rel=1e-11 if exact else 1e-4)
    if exact:
        assert report.total("ac_meanfield") == pytest.approx(37_213_636_608, rel=1e-12)
        assert report.ratio == pytest.approx(13.456, abs=5e-4)


def test_energy_of_a_simulated_network_is_the_sum_over_its_layers(
    tiny_graph: Graph, images: NDArray[Any]
) -> None:
    run = Simulator(tiny_graph).run(images)
    report = energy(run)
    synapses = [layer for layer in run.layers if layer.kind == "synapse"]
    multiplying = [layer for layer in run.layers if layer.kind in ("encoding", "readout")]
    want = 0.9 * sum(layer.ac_meanfield for layer in synapses)
    want += 4.6 * sum(layer.padded_mac for layer in multiplying)
    assert report.energy_pj == pytest.approx(want / 3, rel=1e-12)
    assert report.total("ac_events") == pytest.approx(sum(layer.ac for layer in synapses) / 3)
    assert report.not_charged.attention_ac_events > 0
