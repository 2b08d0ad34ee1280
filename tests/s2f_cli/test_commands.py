"""The commands on the tiny network: what they print, write, and how they end."""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from networks import NetworkBuilder
from PIL import Image

import s2f_deploy
from s2f_cli.bundled import DEFAULT
from s2f_deploy import Graph

Invoke = Callable[..., Result]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (40, 48, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def document(result: Result, path: Path) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_simulate_answers_and_draws(
    invoke: Invoke, tiny_artefact: Path, photo: Path, tmp_path: Path
) -> None:
    result = invoke("simulate", photo, "-m", tiny_artefact, "-k", 4, "--json", "run.json")
    report = document(result, tmp_path / "run.json")
    assert report["schema"] == "s2f/simulate/1"
    assert (report["timesteps"], report["exact"]) == (4, True)
    assert {p["label"] for p in report["prediction"]} == {"cat", "dog", "frog"}
    assert "exact (K >= D = 4)" in result.output
    for layer in report["layers"]:
        assert sum(layer["ac_by_timestep"]) == layer["ac"]
    assert report["total"]["ac"] == sum(layer["ac"] for layer in report["layers"])
    for name in ("photo.s2f.png", "photo.spikes.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 300


def test_engines_agree_and_fewer_timesteps_are_cheaper(
    invoke: Invoke, tiny_artefact: Path, photo: Path, tmp_path: Path
) -> None:
    reports = []
    for options in (("--engine", "reference"), ("--threads", 1), ("-k", 1)):
        arguments = ("-m", tiny_artefact, "--no-pictures", "--json", "r.json", *options)
        reports.append(document(invoke("simulate", photo, *arguments), tmp_path / "r.json"))
    assert reports[0]["layers"] == reports[1]["layers"]
    assert not reports[2]["exact"]
    assert reports[2]["total"]["ac"] < reports[1]["total"]["ac"]
    assert not list(tmp_path.glob("*.spikes.png"))


def test_verify_says_equivalent(
    invoke: Invoke, tiny_artefact: Path, photo: Path, tmp_path: Path
) -> None:
    result = invoke("verify", photo, photo, "-m", tiny_artefact, "--json", "v.json")
    report = document(result, tmp_path / "v.json")
    assert report["schema"] == "s2f/verify/1"
    assert (report["equivalent"], report["samples"], report["unexplained"]) == (True, 2, 0)
    assert "EQUIVALENT: 0 unexplained mismatches" in result.output


def test_verify_ends_with_status_1_when_a_weight_is_wrong(
    invoke: Invoke, tiny_graph: Graph, photo: Path, tmp_path: Path
) -> None:
    wrong = dict(tiny_graph.params)
    name = "ConvBlock1_2.0.conv1.weight"
    wrong[name] = wrong[name] * np.float32(1.25)
    s2f_deploy.save(replace(tiny_graph, params=wrong), tmp_path / "wrong.s2f")
    result = invoke("verify", photo)
    assert result.exit_code == 1
    assert "NOT EQUIVALENT" in result.output


def test_energy_prices_what_simulate_counts(
    invoke: Invoke, tiny_artefact: Path, photo: Path, tmp_path: Path
) -> None:
    common = ("-m", tiny_artefact, "--json")
    counted = document(
        invoke("simulate", photo, "--no-pictures", *common, "s.json"), tmp_path / "s.json"
    )
    priced = document(invoke("energy", photo, *common, "e.json"), tmp_path / "e.json")
    assert priced["schema"] == "s2f/energy/1"
    attention = priced["not_charged"]["attention_ac_events"]
    assert priced["total"]["ac_events"] + attention == counted["total"]["ac"]
    pico = 0.9 * priced["total"]["ac_events"] + 4.6 * priced["total"]["mac"]
    assert priced["total"]["energy_events_pj"] == pytest.approx(pico)


def test_json_on_standard_output_is_nothing_but_json(
    invoke: Invoke, tiny_artefact: Path, photo: Path
) -> None:
    result = invoke("energy", photo, "-m", tiny_artefact, "--json", "-")
    assert json.loads(result.stdout)["schema"] == "s2f/energy/1"
    assert "cmos45-horowitz" in result.stderr


def test_export_reads_upstreams_container(
    invoke: Invoke, tiny_model: torch.nn.Module, tmp_path: Path
) -> None:
    checkpoint = {
        "model": tiny_model.state_dict(),
        "epoch": 3,
        "args": argparse.Namespace(lr=1e-3, output_dir="/somewhere"),
    }
    torch.save(checkpoint, tmp_path / "ckpt.pth")
    (tmp_path / "names.txt").write_text("ant\nbee\ncrow\n")
    result = invoke(
        "export", "ckpt.pth", "--size", 64, "--classes", "names.txt", "--json", "x.json"
    )
    report = document(result, tmp_path / "x.json")
    assert "D; 4 assumed" in result.output
    graph = s2f_deploy.load(tmp_path / "ckpt.s2f")
    assert graph.metadata["classes"] == ["ant", "bee", "crow"]
    assert report["neuron_layers"] == len(list(graph.select("integrate_fire"))) == 45
    assert report["metadata"]["preprocessing"]["resize"] == 66
    # The only artefact here is the default of every other command.
    assert "artefact: " in invoke("simulate", DEFAULT.sample, "--no-pictures").output


def test_export_takes_an_onnx_file(invoke: Invoke, tiny_onnx: Path, tmp_path: Path) -> None:
    result = invoke("export", tiny_onnx, "-o", "net.s2f")
    assert result.exit_code == 0, result.output
    assert s2f_deploy.load(tmp_path / "net.s2f").reference == tiny_onnx.read_bytes()


@pytest.mark.parametrize(("kept", "multiplying"), [("none", 0), ("separable", 1), ("all", 3)])
def test_export_keeps_the_chains_asked_for(
    invoke: Invoke, tmp_path: Path, kept: str, multiplying: int
) -> None:
    made = NetworkBuilder(np.random.default_rng(0), 4, 4.0, "half_even")
    made.shapes["image"] = (3, 32, 32)
    x = made.neuron(made.conv("image", 4, 3, 2, 1, 1))
    x = made.neuron(made.repeated(made.neuron(made.depthwise_first(x, 4)), 4))
    (tmp_path / "net.onnx").write_bytes(made.model((3, 32, 32), made.conv(x, 2, 1, 1, 0, 1)))
    result = invoke("export", "net.onnx", "--keep-chains", kept)
    assert result.exit_code == 0, result.output
    _, *chained = s2f_deploy.load(tmp_path / "net.s2f").select("conv2d")
    assert len(chained) == multiplying


def test_chains_of_no_kind_are_wrong_usage(invoke: Invoke, tiny_onnx: Path) -> None:
    result = invoke("export", tiny_onnx, "--keep-chains", "some")
    assert result.exit_code == 2
    assert "'none', 'separable', 'all'" in result.output


def test_models_lists_the_published_sizes(invoke: Invoke, tmp_path: Path) -> None:
    report = document(invoke("models", "--json", "m.json"), tmp_path / "m.json")
    sizes = {network["name"]: network["parameters"] for network in report["networks"]}
    assert sizes["e_spikeformer_m"] == 10_023_112
