"""Spike2Former as events: the official code's counts, and every bit with integer weights."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deployed_runs import differences, run_deployed
from golden_weights import golden_image
from numpy.typing import NDArray
from spike2former_golden import TINY, fill, let_fire, read_record, recorded_config

import s2f_deploy
from s2f_deploy import Graph
from s2f_models import Spike2Former
from s2f_sim import Simulator, verify
from s2f_sim.shown_counts import shown_counts

SIZE = (32, 48)
# Recorded for all stages of the decoder at once; inference needs the last one.
OF_ALL_STAGES = {
    "decode_head.decoder_out_spike",
    "decode_head.shortcut_conv_spike",
    "decode_head.mask_embed.spike1",
    "decode_head.mask_embed.spike2",
    "decode_head.mask_embed_spike",
}


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


def digests(counts: NDArray[Any]) -> set[str]:
    """As the golden record has them; tokens may lie in rows or in columns."""
    layouts = [counts, counts.T] if counts.ndim == 2 else [counts]
    return {
        hashlib.sha256(np.ascontiguousarray(x, np.uint8).tobytes()).hexdigest()[:32]
        for x in layouts
    }


def test_every_count_is_the_official_codes(tmp_path: Path) -> None:
    record = read_record("v2_d4")
    model = recorded_config(record).build()
    fill(model, record)
    shape = tuple(record["input"]["shape"])
    graph = s2f_deploy.lower(exported(model, shape, tmp_path))
    x = golden_image(shape, record["input"]["seed"]).astype(np.float32)
    run = Simulator(graph, threads=1).run(x)
    shown = shown_counts(graph, {name: counts[0] for name, counts in run.counts.items()})
    recorded = {name: digest for name, _, digest in record["neurons"]}
    assert recorded.keys() <= shown.keys()
    wrong = {name for name, digest in recorded.items() if digest not in digests(shown[name])}
    assert wrong == OF_ALL_STAGES
    report = verify(graph, [x])
    assert report.equivalent
    assert not report.mismatches


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
