"""Integer weights from the command line: export, verify, certify, repeat."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

import s2f_deploy
from s2f_deploy import Graph

Invoke = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 256, (36, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path / f"{i}.png")
    return path


def test_an_onnx_file_gets_integer_weights_chosen_by_a_folder(
    invoke: Invoke, tiny_onnx: Path, folder: Path, tmp_path: Path
) -> None:
    result = invoke(
        "export", tiny_onnx, "--weights", "int8", "--layer", "head=int16", "--calibrate", folder
    )
    assert result.exit_code == 0, result.output
    graph = s2f_deploy.load(tmp_path / "tiny.s2f")
    assert graph.metadata["arithmetic"] == "int8"
    report = graph.metadata["quantisation"]
    assert (report["calibration_images"], report["overrides"]) == (3, {"head": 16})
    kinds = {node.name: graph.arrays(node)[0].dtype for node in graph.select("event_conv2d")}
    assert set(kinds.values()) == {np.dtype(np.int8)}
    head = next(graph.select("event_linear"))
    assert graph.arrays(head)[0].dtype == np.int16
    assert "int8 weights" in result.output
    assert "of the counts on 3 calibration images" in result.output


def test_without_images_a_notice_says_so(invoke: Invoke, tiny_onnx: Path) -> None:
    result = invoke("export", tiny_onnx, "--weights", "int16")
    assert result.exit_code == 0, result.output
    assert "--calibrate" in result.output


def test_an_artefact_is_lowered_again_by_its_own_pictures(
    invoke: Invoke, integer_artefact: Path, tmp_path: Path
) -> None:
    result = invoke("export", integer_artefact, "--weights", "int16", "-o", "wide.s2f")
    assert result.exit_code == 0, result.output
    before, after = (s2f_deploy.load(p) for p in (integer_artefact, tmp_path / "wide.s2f"))
    assert after.reference == before.reference
    assert after.metadata["classes"] == before.metadata["classes"]
    assert after.metadata["quantisation"]["calibration_images"] == 2
    invoke("export", integer_artefact, "-o", "trained.s2f")
    trained = s2f_deploy.load(tmp_path / "trained.s2f")
    assert trained.metadata["arithmetic"] == "float32"
    assert not trained.deployed
    assert "quantisation" not in trained.metadata


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--layer", "head=int16"), "are for --weights int8"),
        (("--weights", "int8", "--layer", "head"), "PATTERN=int8"),
        (("--weights", "int8", "--layer", "nothing*=int16"), "no layer is called 'nothing*'"),
        (("--weights", "int8", "--calibrate", "absent"), "no such folder"),
    ],
)
def test_what_cannot_be_exported_is_one_error(
    invoke: Invoke, tiny_onnx: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    result = invoke("export", tiny_onnx, *options)
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert not list(tmp_path.glob("*.s2f*"))


def test_a_dataset_is_certified_and_repeated(
    invoke: Invoke, integer_artefact: Path, folder: Path, tmp_path: Path
) -> None:
    given = ("--dataset", folder, "--samples", 2, "-m", integer_artefact)
    result = invoke("verify", *given, "--certificate", "c.json", "--json", "v.json")
    assert result.exit_code == 0, result.output
    assert "EQUIVALENT: every count and every bit of the output" in result.output
    report = json.loads((tmp_path / "v.json").read_text())
    assert report["schema"] == "s2f/verify-deployed/1"
    assert (report["samples"], report["mismatches"], report["equivalent"]) == (2, 0, True)
    assert len(json.loads((tmp_path / "c.json").read_text())["samples"]) == 2
    repeated = invoke("verify", *given, "--engine", "reference", "--against", "c.json")
    assert repeated.exit_code == 0, repeated.output
    assert "REPEATED" in repeated.output
    other = invoke("verify", folder / "1.png", "-m", integer_artefact, "--against", "c.json")
    assert other.exit_code == 1
    assert "NOT REPEATED: samples: 1, not 2" in other.output


def test_a_wrong_comparator_ends_with_status_1(
    invoke: Invoke, tiny_integers: Graph, folder: Path, tmp_path: Path
) -> None:
    (name,) = next(tiny_integers.select("integrate_fire")).params
    params = dict(tiny_integers.params) | {name: tiny_integers.params[name] + np.int32(9)}
    s2f_deploy.save(replace(tiny_integers, params=params), tmp_path / "wrong.s2f")
    result = invoke("verify", folder / "0.png")
    assert result.exit_code == 1
    assert "NOT EQUIVALENT" in result.output


def test_float_weights_cannot_be_certified(
    invoke: Invoke, tiny_artefact: Path, folder: Path, tmp_path: Path
) -> None:
    result = invoke("verify", folder / "0.png", "-m", tiny_artefact, "--certificate", "c.json")
    assert result.exit_code == 1
    assert "--weights int8" in result.output
    assert not (tmp_path / "c.json").exists()


def test_the_simulated_answer_is_the_verified_one(
    invoke: Invoke, integer_artefact: Path, folder: Path
) -> None:
    result = invoke("simulate", folder / "0.png", "-m", integer_artefact, "--no-pictures")
    assert result.exit_code == 0, result.output
