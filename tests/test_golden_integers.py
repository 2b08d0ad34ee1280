"""The published networks with integer weights: spikes, dense reference and ONNX Runtime agree."""

from collections.abc import Callable
from typing import Any

import pytest
from golden_weights import GoldenNetwork

import s2f_deploy
from s2f_deploy.passes.pipeline import Arithmetic
from s2f_sim import DeployedReport, verify

Options = dict[str, Any]
EVENTS, BOTH_CORES, DENSE = {"threads": 1}, {"threads": 2}, {"engine": "reference"}


@pytest.mark.parametrize("arithmetic", ["int8", "int16"])
@pytest.mark.parametrize(
    ("name", "golden", "samples", "runs"),
    [
        ("e_spikeformer_t", "base_t_64", 3, (EVENTS, BOTH_CORES, DENSE)),
        ("e_spikeformer_s", "base_s_96", 3, (EVENTS, BOTH_CORES, DENSE)),
        # The dense reference takes its time here: benchmarks/exactness.py has all runs of m.
        ("e_spikeformer_m", "base_m_224", 1, (BOTH_CORES,)),
    ],
)
def test_every_count_and_bit_is_equal(
    golden_network: Callable[[str, str], GoldenNetwork],
    name: str,
    golden: str,
    samples: int,
    runs: tuple[Options, ...],
    arithmetic: Arithmetic,
) -> None:
    network = golden_network(name, golden)
    small = network.images[0] if samples > 1 else None
    graph = s2f_deploy.lower(network.onnx, arithmetic, calibration=small)
    certificates = []
    for options in runs:
        report = verify(graph, network.images[:samples], **options)
        assert isinstance(report, DeployedReport)
        assert report.equivalent
        assert bool(report.wide_layers) == (arithmetic == "int16")
        certificates.append(report.certificate)
    assert all(not other.differences(certificates[0]) for other in certificates[1:])
