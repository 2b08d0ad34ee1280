"""The commands on the official detector's checkpoint: boxes, drawn and as COCO writes them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from spike_yolo_golden import write_official_checkpoint

import s2f_deploy
from s2f_cli.bundled import DEFAULT
from s2f_cli.main import s2f

Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported from the command line, once: tracing 83 neurons takes half a minute."""
    folder = tmp_path_factory.mktemp("detector")
    checkpoint, artefact = write_official_checkpoint(folder), folder / "best.s2f"
    result = CliRunner().invoke(s2f, ["export", str(checkpoint), "-o", str(artefact)])
    assert result.exit_code == 0, result.output
    assert "input 3x64x64" in result.output
    return artefact


@pytest.fixture(scope="module")
def integers(detector: Path) -> Path:
    """The same with int8 weights, lowered from the artefact."""
    artefact = detector.with_name("best8.s2f")
    arguments = ["export", str(detector), "--weights", "int8", "-o", str(artefact)]
    result = CliRunner().invoke(s2f, arguments)
    assert result.exit_code == 0, result.output
    assert "nothing to choose the integer weights by" in result.output
    return artefact


def test_the_artefact_says_how_it_is_fed(detector: Path) -> None:
    metadata = s2f_deploy.load(detector).metadata
    assert metadata["task"] == "detection"
    assert metadata["classes"] == ["circle", "square", "cross"]
    kind = {"kind": "letterbox", "height": 64, "width": 64, "interpolation": "opencv"}
    assert metadata["preprocessing"] == kind


def test_it_is_verified(invoke: Invoke, detector: Path, integers: Path) -> None:
    result = invoke("verify", detector)
    assert result.exit_code == 0, result.output
    assert "EQUIVALENT: 0 unexplained mismatches" in result.output
    assert "same class" not in result.output
    result = invoke("verify", integers, DEFAULT.sample)
    assert result.exit_code == 0, result.output
    assert "EQUIVALENT: every count and every bit of the output" in result.output


def run(invoke: Invoke, *arguments: object) -> dict[str, Any]:
    result = invoke("simulate", *arguments, "--json", "run.json")
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(Path("run.json").read_text())
    return document


def test_boxes_are_drawn_and_written_as_coco_has_them(
    invoke: Invoke, detector: Path, tmp_path: Path
) -> None:
    photograph = tmp_path / "000042.png"
    with Image.open(DEFAULT.sample) as picture:
        picture.save(photograph)
        size = picture.size
    document = run(invoke, detector, photograph, "--confidence", 0.9)
    found = document["detections"]
    assert found
    assert all(d["score"] > 0.9 for d in found)
    assert all(0 <= d["box"][i] <= d["box"][i + 2] <= size[i] for d in found for i in (0, 1))
    results = json.loads((tmp_path / "000042.boxes.json").read_text())
    assert {(r["image_id"], r["category_id"]) for r in results} <= {(42, c) for c in range(3)}
    for result, detection in zip(results, found, strict=True):
        left, top, right, bottom = detection["box"]
        np.testing.assert_allclose(
            result["bbox"], [left, top, right - left, bottom - top], atol=1e-3
        )
    for suffix in ("s2f", "spikes"):
        with Image.open(tmp_path / f"000042.{suffix}.png") as drawn:
            assert min(drawn.size) > 300


def test_engines_agree_on_every_box(invoke: Invoke, integers: Path) -> None:
    documents = [
        run(invoke, integers, DEFAULT.sample, "--engine", engine, "--no-pictures")
        for engine in ("events", "reference")
    ]
    first, second = ({k: d[k] for k in ("detections", "layers", "total")} for d in documents)
    assert first == second


def test_nothing_but_boxes_is_asked_of_the_host(invoke: Invoke, detector: Path) -> None:
    layers = run(invoke, detector, DEFAULT.sample, "--no-pictures")["layers"]
    multiplying = {layer["kind"] for layer in layers if layer["mac"]}
    assert multiplying == {"encoding", "host"}


def test_the_bundled_detector_finds_the_white_cell(invoke: Invoke) -> None:
    document = run(invoke, "-m", "blood_cells", "--no-pictures", "--confidence", 0.4)
    found = document["detections"]
    assert {d["label"] for d in found} == {"RBC", "WBC", "Platelets"}
    (white,) = (d for d in found if d["label"] == "WBC")
    # As annotated in the data set, nearly; the picture is one of its test set.
    np.testing.assert_allclose(white["box"], [193, 92, 387, 285], atol=30)
    result = invoke("verify", "-m", "blood_cells")
    assert result.exit_code == 0, result.output
    assert "EQUIVALENT: every count and every bit of the output" in result.output


def test_an_artefact_is_named_once(invoke: Invoke, detector: Path) -> None:
    assert invoke("simulate", detector, "-m", detector).exit_code == 2
    assert invoke("simulate", detector, DEFAULT.sample, DEFAULT.sample).exit_code == 2
