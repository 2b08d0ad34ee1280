"""Spike2Former as events: every bit with integer weights, whichever chains are kept."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from deployed_runs import differences, run_deployed
from golden_weights import golden_image
from numpy.typing import NDArray
from spike2former_golden import TINY, let_fire

import s2f_deploy
from s2f_deploy import Graph
from s2f_deploy.passes.merge_convolutions import Chains
from s2f_models import Spike2Former
from s2f_sim import Simulator, verify

SIZE = (32, 48)


def exported(model: Spike2Former, shape: tuple[int, ...], folder: Path) -> Path:
    path = folder / "net.onnx"
    s2f_deploy.export_onnx(model.float(), shape, path)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the second backbone, its offsets rounded."""
    model = replace(TINY, backbone="sdtv3", decoder_layers=1, offset_bits=6).build()
    let_fire(model, seed=2)
    shape = model.config.input_shape(*SIZE)
    return exported(model, shape, tmp_path_factory.mktemp("tiny"))


def image(seed: int) -> NDArray[np.float32]:
    return golden_image((1, 3, *SIZE), seed).astype(np.float32)


def test_what_multiplies_is_the_image_and_gamma(tiny: Path) -> None:
    run = Simulator(s2f_deploy.lower(tiny), threads=1).run(image(0))
    multiplying = Counter(layer.kind for layer in run.layers if layer.mac)
    # One layer of the encoder has one gamma behind rewired channels.
    assert multiplying == {"encoding": 1, "chain": 1}
    assert sum(layer.ac for layer in run.layers if layer.kind == "dyadic_sampling") > 0


@pytest.mark.parametrize("arithmetic", ["int8", "int16"])
def test_integers_are_onnx_runtimes_bit_for_bit(arithmetic: Any, tiny: Path) -> None:
    graph: Graph = s2f_deploy.lower(tiny, arithmetic, calibration=image(0))
    for seed in (0, 1):
        x = image(seed)
        runs = [Simulator(graph, "events", 1).run(x), Simulator(graph, "reference").run(x)]
        deployed = run_deployed(graph, x, optimised=bool(seed))
        for run in runs:
            assert differences(run, deployed) == []
        assert runs[0].layers == runs[1].layers
        fired = sum(bool(counts.any()) for counts in runs[0].counts.values())
        assert fired > 0.9 * len(runs[0].counts)
    assert verify(graph, [image(2)]).equivalent


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the first backbone, whose linear chains are of two kinds."""
    model = replace(TINY, encoder_layers=0, decoder_layers=1, offset_bits=6).build()
    let_fire(model, seed=3)
    shape = model.config.input_shape(*SIZE)
    return exported(model, shape, tmp_path_factory.mktemp("chained"))


def by_layer(graph: Graph) -> dict[str, Any]:
    return {layer.name: layer for layer in Simulator(graph, threads=1).run(image(0)).layers}


@pytest.mark.parametrize("kept", get_args(Chains))
@pytest.mark.parametrize("arithmetic", ["float32", "int8"])
def test_whichever_chains_are_kept_counts_are_onnx_runtimes(
    kept: Chains, arithmetic: Any, chained: Path
) -> None:
    calibration = image(0) if arithmetic == "int8" else None
    graph = s2f_deploy.lower(chained, arithmetic, calibration=calibration, keep_chains=kept)
    report = verify(graph, [image(2)])
    assert report.equivalent
    assert not report.mismatches
    chains = [layer.name for layer in by_layer(graph).values() if layer.kind == "chain"]
    separable = [name for name in chains if ".Conv." in name]
    assert (len(separable), len(chains) - len(separable)) == {
        "none": (0, 0),
        "separable": (4, 0),
        "all": (4, 16),
    }[kept]


def test_depthwise_kernels_that_are_kept_cost_what_their_taps_do(chained: Path) -> None:
    """Folded, a spike adds at every tap for each output; kept, once at every tap."""
    folded, kept = (
        by_layer(s2f_deploy.lower(chained, keep_chains=c)) for c in get_args(Chains)[:2]
    )
    for stage in ("1_1.0", "1_2.0", "2_1.0", "2_2.0"):
        depthwise, pointwise = (
            f"backbone.ConvBlock{stage}.Conv.{n}" for n in ("dwconv", "pwconv2")
        )
        outputs = 4 if stage == "1_1.0" else 8
        assert folded[pointwise].ac == outputs * kept[depthwise].ac > 0
        assert kept[pointwise].mac == kept[pointwise].dense_mac > 0
        assert (kept[pointwise].ac, folded[pointwise].mac) == (0, 0)
    assert {n: x for n, x in folded.items() if ".Conv." not in n} == {
        n: x for n, x in kept.items() if ".Conv." not in n
    }
