"""``s2f eval``: scores, logs, and runs that are stopped and go on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from labelled_sets import write_class_folders, write_coco, write_voc
from networks import NetworkBuilder
from numpy.typing import NDArray
from PIL import Image

import s2f_deploy
from s2f_deploy import Graph
from s2f_sim.answer import Found, answer
from s2f_sim.average_precision import Truth, average_precision
from s2f_sim.preparation import read_preparation
from s2f_sim.run import Run
from s2f_sim.simulator import Simulator, simulate
from s2f_sim.suppression import VALIDATION, suppress

Invoke = Callable[..., Result]
CLASSES = ["cat", "dog", "frog"]
CELLS = ["RBC", "WBC", "Platelets"]


def document(result: Result, path: Path) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def assert_one_error(result: Result, *parts: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.output.count("Error: ") == 1
    for part in ("at:", "fix:", *parts):
        assert part in result.output
    assert "Traceback" not in result.output


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "animals", CLASSES, each=4)


@pytest.fixture(scope="session")
def detector() -> Graph:
    """Three convolutions whose last one is taken for boxes and scores."""
    builder = NetworkBuilder(np.random.default_rng(5), 4, 1.0, "half_even")
    builder.shapes["image"] = (3, 32, 32)
    x = builder.conv("image", 8, 3, 2, 1, 1)
    x = builder.conv(builder.neuron(x), 8, 3, 2, 1, 1)
    x = builder.conv(builder.neuron(x), 7, 3, 1, 1, 1)
    scale, shift = builder.array((1, 7, 1), 0, 1), builder.array((1, 7, 1), 0, 1)
    # Centres around the middle, sides of a few pixels.
    builder.arrays[scale] = np.array([8, 8, 4, 4, 0.25, 0.25, 0.25], np.float32)[None, :, None]
    builder.arrays[shift] = np.array([16, 16, 12, 12, 0, 0, 0], np.float32)[None, :, None]
    x = builder.add("Reshape", [x, builder.ints([1, 7, 64])], (7, 64))
    x = builder.add("Mul", [x, scale], (7, 64))
    x = builder.add("Add", [x, shift], (7, 64))
    graph = s2f_deploy.lower_content(builder.model((3, 32, 32), x), "detector")
    letterbox = {"kind": "letterbox", "height": 32, "width": 32, "interpolation": "bilinear"}
    metadata = {"task": "detection", "classes": CELLS, "preprocessing": letterbox}
    return replace(graph, metadata={"arithmetic": "float32", "notices": [], **metadata})


@pytest.fixture
def detector_artefact(detector: Graph, tmp_path: Path) -> Path:
    s2f_deploy.save(detector, tmp_path / "detector.s2f")
    return tmp_path / "detector.s2f"


@pytest.fixture
def cells(detector: Graph, tmp_path: Path) -> Path:
    """Pictures of noise, in which is annotated some of what the detector sees there."""
    rng = np.random.default_rng(1)
    preparation = read_preparation(detector.metadata["preprocessing"], where="")
    folder = write_voc(tmp_path / "cells", {f"{i}": [] for i in range(5)}, {"test": ["0", "3"]})
    for i in range(5):
        path = folder / "JPEGImages" / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(path)
        sample = preparation.read(path)
        seen = answer(simulate(detector, sample.x).outputs, sample, "detection", CELLS)
        assert isinstance(seen, Found)
        objects = "".join(
            f"<object><name>{d.label}</name><bndbox><xmin>{d.box[0]}</xmin><ymin>{d.box[1]}</ymin>"
            f"<xmax>{d.box[2]}</xmax><ymax>{d.box[3]}</ymax></bndbox></object>"
            for d in seen.things[1:4]
        )
        (folder / "Annotations" / f"{i}.xml").write_text(f"<annotation>{objects}</annotation>")
    return folder


def test_a_classifier_is_measured(
    invoke: Invoke, tiny_graph: Graph, tiny_artefact: Path, folders: Path, tmp_path: Path
) -> None:
    result = invoke("eval", "-m", tiny_artefact, "--dataset", folders, "--json", "e.json")
    report = document(result, tmp_path / "e.json")
    preparation = read_preparation(tiny_graph.metadata["preprocessing"], where="")
    expected = {}
    works = []
    for name in CLASSES:
        runs = [
            simulate(tiny_graph, preparation.read(folders / name / f"{i}.png").x) for i in range(4)
        ]
        best = [CLASSES[int(run.outputs["logits"].argmax())] for run in runs]
        expected[name] = best.count(name)
        works += [sum(layer.ac for layer in run.layers) for run in runs]
    assert report["schema"] == "s2f/eval/1"
    assert {c["label"]: (c["samples"], c["right"]) for c in report["classes"]} == {
        name: (4, right) for name, right in expected.items()
    }
    assert report["top1"] == sum(expected.values()) / 12
    assert report["top5"] is None
    assert report["per_sample"]["ac"] == sum(works) / 12
    assert (report["samples"], report["exact"], report["network"]) == (12, True, "spikes")
    assert f"top-1 {report['top1']:.2%}\n" in result.output
    assert report["log"] == "tiny-animals.eval.jsonl"
    assert len((tmp_path / report["log"]).read_text().splitlines()) == 13
    assert f"artefact: {tiny_artefact}" in result.output
    documented = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    section = documented.partition("## `eval`")[2].partition("\n## ")[0]
    assert all(f"`{key}`" in section for key in report if key != "schema")


def boxes_by_hand(graph: Graph, pictures: list[Path], truths: list[Truth]) -> tuple[float, float]:
    preparation = read_preparation(graph.metadata["preprocessing"], where="")
    judged: list[tuple[Truth, NDArray[Any]]] = []
    for path, truth in zip(pictures, truths, strict=True):
        sample = preparation.read(path)
        (output,) = simulate(graph, sample.x).outputs.values()
        rows = suppress(output[0], VALIDATION).astype(np.float64)
        assert sample.letterbox is not None
        rows[:, :4] = sample.letterbox.to_picture(rows[:, :4]).round(3)
        judged.append((truth, rows))
    score = average_precision(judged)
    return score.map50, score.map50_95


def test_a_detector_is_measured(
    invoke: Invoke, detector: Graph, detector_artefact: Path, cells: Path, tmp_path: Path
) -> None:
    from xml.etree import ElementTree as ET  # noqa: PLC0415

    result = invoke("eval", detector_artefact, "--dataset", cells, "--json", "e.json")
    report = document(result, tmp_path / "e.json")
    truths, pictures, annotations, images = [], [], [], []
    for i in range(5):
        pictures.append(cells / "JPEGImages" / f"{i}.png")
        images.append({"id": 10 + i, "file_name": f"{i}.png"})
        boxes, labels = [], []
        for found in ET.parse(cells / "Annotations" / f"{i}.xml").getroot():
            x1, y1, x2, y2 = (float(side.text or "") for side in found[1])
            boxes.append((x1, y1, x2, y2))
            labels.append(CELLS.index(found[0].text or ""))
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": 3 * labels[-1]}
            annotations.append({"image_id": 10 + i, "iscrowd": 0, **box})
        truths.append(Truth.of(boxes, labels))
    map50, map50_95 = boxes_by_hand(detector, pictures, truths)
    assert (report["map50"], report["map50_95"]) == (map50, map50_95)
    assert 0.05 < map50_95 <= map50 < 1
    assert report["objects"] == len(annotations) == sum(c["objects"] for c in report["classes"])
    assert sum(c["found"] for c in report["classes"]) > len(annotations) // 2
    assert f"mAP50 {map50:.2%}, mAP50-95 {map50_95:.2%};" in result.output
    # The same data set as COCO's.
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3 * i, "name": name} for i, name in enumerate(CELLS)],
    }
    file = write_coco(tmp_path / "instances.json", content)
    options = ("--images", cells / "JPEGImages", "--json", "c.json")
    again = document(
        invoke("eval", detector_artefact, "--dataset", file, *options), tmp_path / "c.json"
    )
    assert again["map50_95"] == pytest.approx(map50_95)
    split = invoke("eval", detector_artefact, "--dataset", cells, "--split", "test")
    assert "on 2 of 2 samples" in split.output
    assert (tmp_path / "detector-cells-test.eval.jsonl").exists()


def without_time(report: Path) -> str:
    content = json.loads(report.read_text())
    assert content.pop("seconds") > 0
    return json.dumps(content)


def lines_without_time(result: Result) -> list[str]:
    lines = [x for x in result.stdout.splitlines() if " s per sample" not in x]
    return [x for x in lines if not x.startswith("notice:")]


@pytest.mark.parametrize("kind", ["classifier", "detector"])
def test_a_run_that_was_stopped_goes_on(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke: Invoke = request.getfixturevalue("invoke")
    fixtures = {
        "classifier": ("tiny_artefact", "folders"),
        "detector": ("detector_artefact", "cells"),
    }
    artefact, dataset = (request.getfixturevalue(name) for name in fixtures[kind])
    runs: list[int] = []
    limit = 1000
    original = Simulator.run

    def counted(self: Simulator, *arguments: Any) -> Run:
        if len(runs) == limit:
            raise KeyboardInterrupt
        runs.append(1)
        return original(self, *arguments)

    monkeypatch.setattr(Simulator, "run", counted)

    def evaluate(name: str) -> Result:
        runs.clear()
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        return invoke("eval", artefact, "--dataset", dataset, "--threads", 1, "--json", "e.json")

    whole = evaluate("whole")
    total = len(runs)
    assert total in (5, 12)
    for limit in (0, 2, total - 1):
        stopped = evaluate(f"parts{limit}")
        assert stopped.exit_code == 1
        assert "stopped; the same command goes on from" in stopped.output
        assert "Aborted!" in stopped.output
        assert not (tmp_path / f"parts{limit}" / "e.json").exists()
        done, limit = limit, 1000  # noqa: PLW2901 (the run that goes on is not stopped)
        resumed = evaluate(f"parts{done}")
        assert len(runs) == total - done
        assert (f"{done} of {total} samples were finished already" in resumed.output) == (done > 0)
        report = tmp_path / f"parts{done}" / "e.json"
        assert without_time(report) == without_time(tmp_path / "whole" / "e.json")
        assert lines_without_time(resumed) == lines_without_time(whole)
        before = report.read_bytes()
        evaluate(f"parts{done}")
        assert not runs
        assert report.read_bytes() == before


def test_a_run_that_was_killed_goes_on(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_class_folders(tmp_path / "set", ["cat", "dog", "horse"], each=20)
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
    arguments = ["eval", "--dataset", "../set", "--threads", "1", "--json", "e.json"]
    command = [sys.executable, "-c", "from s2f_cli.main import s2f; s2f()", *arguments]
    log = tmp_path / "killed" / "e_spikeformer_cifar10-set.eval.jsonl"
    running = subprocess.Popen(command, cwd=tmp_path / "killed", stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.read_bytes().count(b"\n") > 3):
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    finished = log.read_bytes().count(b"\n") - 1
    assert 2 < finished < 60
    reports = []
    for name in ("killed", "whole"):
        monkeypatch.chdir(tmp_path / name)
        result = invoke(*arguments)
        assert (f"{finished} of 60 samples were finished already" in result.output) == (
            name == "killed"
        )
        reports.append(without_time(tmp_path / name / "e.json"))
    assert reports[0] == reports[1]


def test_what_is_measured_in_several_ways_has_several_logs(
    invoke: Invoke, integer_artefact: Path, folders: Path, tmp_path: Path
) -> None:
    reports = {}
    for name, options in {
        "tiny8-animals": (),
        "tiny8-animals-k1": ("-k", 1),
        "tiny8-animals-reference": ("--engine", "reference"),
        "tiny8-animals-float": ("--network", "float"),
        "tiny8-animals-deployed": ("--network", "deployed", "--threads", 1),
    }.items():
        result = invoke(
            "eval", integer_artefact, "--dataset", folders, "--json", "e.json", *options
        )
        reports[name] = document(result, tmp_path / "e.json")
        assert (tmp_path / f"{name}.eval.jsonl").exists()
    same = ("tiny8-animals", "tiny8-animals-reference", "tiny8-animals-deployed")
    assert len({json.dumps(reports[name]["classes"]) for name in same}) == 1
    cheap = reports["tiny8-animals-k1"]
    assert (cheap["timesteps"], cheap["exact"]) == (1, False)
    assert cheap["per_sample"]["ac"] < reports["tiny8-animals"]["per_sample"]["ac"]
    assert reports["tiny8-animals-float"]["per_sample"] == {}
    assert "ONNX Runtime" in reports["tiny8-animals-float"]["engine"]


def test_a_log_of_something_else(
    invoke: Invoke, tiny_artefact: Path, folders: Path, tmp_path: Path
) -> None:
    options = ("--dataset", folders, "--samples", 3, "--log", "l.jsonl")
    assert invoke("eval", tiny_artefact, *options).exit_code == 0
    first = (tmp_path / "l.jsonl").read_bytes()
    assert_one_error(invoke("eval", tiny_artefact, *options, "-k", 2), "timesteps was 4, is 2")
    assert (tmp_path / "l.jsonl").read_bytes() == first
    # A larger part of the data set goes on from a smaller one.
    more = invoke("eval", tiny_artefact, "--dataset", folders, "--log", "l.jsonl")
    assert "3 of 12 samples were finished already" in more.output
    again = invoke("eval", tiny_artefact, *options, "-k", 2, "--restart")
    assert "finished already" not in again.output
    assert len((tmp_path / "l.jsonl").read_text().splitlines()) == 4
    # What is no log is never thrown away.
    for content in (
        b"my thesis\n",
        b'{"binding": 3}\n',
        b"[]\n",
        b"\xff\n",
        b"[" * 200_000 + b"\n",
    ):
        (tmp_path / "l.jsonl").write_bytes(content)
        assert_one_error(invoke("eval", tiny_artefact, *options, "--restart"), "no log")
        assert (tmp_path / "l.jsonl").read_bytes() == content
    (tmp_path / "l.jsonl").write_bytes(first.replace(b'"best"', b'"worst"'))
    assert_one_error(invoke("eval", tiny_artefact, *options), "none of this network", "--restart")
    for place in (folders, "gone/l"):
        result = invoke("eval", tiny_artefact, "--dataset", folders, "--log", place)
        assert_one_error(result, "cannot write the log")


def test_mistakes_are_one_message(
    invoke: Invoke, tiny_artefact: Path, detector_artefact: Path, folders: Path, tmp_path: Path
) -> None:
    assert_one_error(invoke("eval", tiny_artefact, "--dataset", "gone"), "no such data set")
    assert_one_error(invoke("eval", detector_artefact, "--dataset", folders), "PASCAL VOC", "Gen1")
    assert_one_error(
        invoke("eval", tiny_artefact, "--dataset", folders, "--network", "deployed"),
        "no deployed network",
    )
    (folders / "cow").mkdir()
    assert_one_error(invoke("eval", tiny_artefact, "--dataset", folders), "'cow' names no class")
    for arguments, part in (
        ((tiny_artefact,), "--dataset"),
        ((tiny_artefact, "x.png", "--dataset", folders), "x.png is no artefact"),
        ((tiny_artefact, "--dataset", folders, "--network", "float", "-k", 2), "--timesteps"),
        ((tiny_artefact, "--dataset", folders, "--samples", 0), "--samples"),
    ):
        result = invoke("eval", *arguments)
        assert result.exit_code == 2
        assert part in result.output
    assert not list(tmp_path.glob("*.jsonl"))


def test_a_detector_without_boxes(
    invoke: Invoke, tiny_graph: Graph, detector: Graph, cells: Path, tmp_path: Path
) -> None:
    wrong = {**tiny_graph.metadata, "task": "detection", "classes": None}
    s2f_deploy.save(replace(tiny_graph, metadata=wrong), tmp_path / "wrong.s2f")
    assert_one_error(invoke("eval", "wrong.s2f", "--dataset", cells), "no classes", "--task")
    # A centre crop has no place for boxes.
    crop = {**detector.metadata, "preprocessing": tiny_graph.metadata["preprocessing"]}
    s2f_deploy.save(replace(detector, metadata=crop), tmp_path / "crop.s2f")
    assert_one_error(invoke("eval", "crop.s2f", "--dataset", cells), "holds no boxes")


def test_a_picture_that_is_none_leaves_the_log(
    invoke: Invoke, tiny_artefact: Path, folders: Path, tmp_path: Path
) -> None:
    (folders / "dog" / "1.png").write_bytes(b"no picture")
    result = invoke("eval", tiny_artefact, "--dataset", folders)
    assert_one_error(result, os.path.join("dog", "1.png"))
    assert len((tmp_path / "tiny-animals.eval.jsonl").read_text().splitlines()) == 1 + 4 + 1
