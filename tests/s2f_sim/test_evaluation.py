import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_sets import write_class_folders, write_coco, write_gen1, write_picture, write_voc
from numpy.typing import NDArray

from s2f_deploy import Graph
from s2f_deploy.errors import ArtefactError, InputError
from s2f_sim.centre_crop import CentreCrop
from s2f_sim.evaluated_network import (
    DEPLOYED,
    FLOAT,
    EvaluatedNetwork,
    Response,
    Spikes,
    StoredOnnx,
    work_of,
)
from s2f_sim.evaluation import binding_of, evaluate, mean_work
from s2f_sim.evaluation_score import DetectionScore, score_boxes, score_classes
from s2f_sim.event_frames import EventFrames
from s2f_sim.labelled_data import LabelledData, read_labelled_data
from s2f_sim.labelled_sample import Classes
from s2f_sim.preparation import Preparation
from s2f_sim.progress_log import ProgressLog
from s2f_sim.simulator import Simulator
from s2f_sim.whole_picture import WholePicture

CELLS = Classes(3, ("RBC", "WBC", "Platelets"))
LETTERBOX = WholePicture(64, 64, "nearest")
CROP = CentreCrop(8, 8, "nearest", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Recited:
    """A network that knows pictures by their brightness, and what to say about each.

    Args:
        outputs: by brightness.
        breaks_after: samples, before somebody stops it.
    """

    def __init__(
        self, outputs: Mapping[int, NDArray[np.float32]], breaks_after: int | None = None
    ) -> None:
        self.binding: Mapping[str, Any] = {"network": "recited"}
        self.asked: list[int] = []
        self._outputs, self._breaks_after = outputs, breaks_after

    def run(self, x: NDArray[Any]) -> Response:
        if len(self.asked) == self._breaks_after:
            raise KeyboardInterrupt
        height, width = x.shape[2:]
        number = round(float(x[0, 0, height // 2, width // 2]) * 255)
        self.asked.append(number)
        work = {"spikes": number, "ac": 2 * number}
        return Response(self._outputs[number], work, 0.1 + number)


def predicted(*rows: tuple[float, float, float, float, float, int]) -> NDArray[np.float32]:
    """The prediction [7, N] of a network of 64x64 for boxes in a picture of 96x48."""
    columns = []
    for *corners, score, label in rows:
        x1, y1, x2, y2 = (c * 2 / 3 for c in corners)
        # The grey rows above the picture.
        y1, y2 = y1 + 16, y2 + 16
        scores = [score if i == label else 0.0 for i in range(3)]
        columns.append([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, *scores])
    return np.array(columns, np.float32).reshape(-1, 7).T


def read_boxes(path: Path) -> LabelledData:
    return read_labelled_data(path, "detection", CELLS, LETTERBOX.suffixes)


def run(
    data: LabelledData, network: Any, preparation: Preparation, task: str, path: Path
) -> list[dict[str, Any]]:
    with ProgressLog(path, binding_of(network, data, preparation, task)) as log:
        return evaluate(data, preparation, network, task, log)


@pytest.fixture
def cells(tmp_path: Path) -> LabelledData:
    things = {
        "a": [("RBC", (0.0, 0.0, 30.0, 30.0)), ("WBC", (60.0, 15.0, 90.0, 45.0))],
        "b": [("RBC", (30.0, 3.0, 60.0, 33.0))],
        "c": [],
    }
    return read_boxes(write_voc(tmp_path / "voc", things))


SEEN = {
    # One right, one in the wrong place, one nearly unseen.
    0: predicted((0, 0, 30, 30, 0.9, 0), (30, 18, 60, 48, 0.5, 0), (60, 15, 90, 45, 0.2, 1)),
    # Shifted by a fifth: an overlap of two thirds.
    1: predicted((36, 3, 66, 33, 0.8, 0)),
    2: predicted((0, 0, 30, 30, 0.3, 2)),
}


def test_boxes_are_judged_in_pixels_of_the_picture(cells: LabelledData, tmp_path: Path) -> None:
    results = run(cells, Recited(SEEN), LETTERBOX, "detection", tmp_path / "log")
    assert results[0]["size"] == [96, 48]
    assert results[0]["boxes"][0] == pytest.approx([0, 0, 30, 30, 0.9, 0], abs=0.01)
    score = score_boxes(cells.samples, results, CELLS)
    tallies = {t.label: (t.objects, t.found, t.wrong) for t in score.classes}
    assert tallies == {"RBC": (2, 2, 1), "WBC": (1, 0, 0), "Platelets": (0, 0, 1)}
    aps = {t.label: (t.ap50, t.ap50_95) for t in score.classes}
    # Of RBC at 0.5 and 0.65: right, right, wrong. From 0.7 on: right, wrong, wrong; the second is
    # never found, so 51 of 101 levels of recall are reached.
    assert aps["RBC"] == pytest.approx((1, (4 + 6 * 51 / 101) / 10))
    assert aps["WBC"] == pytest.approx((1, 1))
    assert aps["Platelets"] == (None, None)
    assert (score.samples, score.objects) == (3, 3)
    assert score.map50 == pytest.approx(1)
    assert mean_work(results) == {"spikes": 1, "ac": 2}
    document = score.to_dict()
    assert [c["class"] for c in document["classes"]] == [0, 1, 2]
    assert json.loads(json.dumps(document)) == document


def test_an_object_is_found_once_and_crowds_cost_nothing(tmp_path: Path) -> None:
    write_picture(tmp_path / "0.png", 0)
    content = {
        "images": [{"id": 1, "file_name": "0.png"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [0, 0, 30, 30]},
            {"image_id": 1, "category_id": 1, "bbox": [48, 0, 48, 48], "iscrowd": 1},
        ],
        "categories": [{"id": 1, "name": "RBC"}],
    }
    data = read_boxes(write_coco(tmp_path / "a.json", content))
    seen = predicted(
        (0, 0, 30, 30, 0.9, 0),
        (9, 0, 39, 30, 0.8, 0),
        (51, 3, 66, 18, 0.7, 0),
        (75, 30, 90, 45, 0.7, 0),
    )
    results = run(data, Recited({0: seen}), LETTERBOX, "detection", tmp_path / "log")
    (tally,) = score_boxes(data.samples, results, CELLS).classes
    assert (tally.objects, tally.found, tally.wrong) == (1, 1, 1)


def pycocotools_score(file: Path, data: LabelledData, results: list[dict[str, Any]]) -> list[float]:
    """mAP50-95 and mAP50 of the logged boxes by the annotations as they lie in the file."""
    from pycocotools.coco import COCO  # type: ignore[import-untyped]  # noqa: PLC0415
    from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]  # noqa: PLC0415

    content = json.loads(file.read_text())
    numbers = {image["file_name"]: image["id"] for image in content["images"]}
    categories = {c["name"]: c["id"] for c in content["categories"]}
    rows = [
        {
            "image_id": numbers[sample.key],
            "category_id": categories[CELLS.label(label)],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for sample, result in zip(data.samples, results, strict=True)
        for x1, y1, x2, y2, score, label in result["boxes"]
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = COCO(str(file))
        judged = COCOeval(annotated, annotated.loadRes(rows), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return [float(judged.stats[0]), float(judged.stats[1])]


def test_the_score_is_that_of_pycocotools_on_the_same_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    seen = {}
    categories = {"Platelets": 5, "RBC": 90, "WBC": 13}
    for i in range(12):
        write_picture(tmp_path / f"{i}.png", i)
        # Ids in another order than the names.
        images.append({"id": 100 - i, "file_name": f"{i}.png"})
        rows = []
        for _ in range(rng.integers(1, 6)):
            x, y, w, h = rng.integers(0, 40), rng.integers(0, 20), *rng.integers(8, 40, 2)
            label = int(rng.integers(3))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 100 - i,
                    "category_id": categories[CELLS.label(label)],
                    "bbox": [int(x), int(y), int(w), int(h)],
                    "area": int(w * h),
                    "iscrowd": int(rng.random() < 0.2),
                }
            )
            for _ in range(2):
                dx, dy = rng.normal(0, 3, 2)
                rows.append((x + dx, y + dy, x + w + dx, y + h + dy, rng.random(), label))
        seen[i] = predicted(*rows)
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }
    file = write_coco(tmp_path / "a.json", content)
    data = read_boxes(file)
    results = run(data, Recited(seen), LETTERBOX, "detection", tmp_path / "log")
    score = score_boxes(data.samples, results, CELLS)
    assert [score.map50_95, score.map50] == pycocotools_score(file, data, results)
    assert 0.2 < score.map50_95 < score.map50 < 1


LOGITS = {
    0: np.array([3, 2, 1, 0, -1, -2], np.float32),
    1: np.array([0, 0.1, 0, 9, 8, 7], np.float32),
    2: np.array([0, 1, 1, 1, 1, 1], np.float32),
}


@pytest.fixture
def animals(tmp_path: Path) -> LabelledData:
    for folder, name, number in (("0", "a", 0), ("0", "b", 1), ("2", "c", 2), ("1", "d", 1)):
        write_picture(tmp_path / "set" / folder / f"{name}.png", number, (8, 8))
    return read_labelled_data(tmp_path / "set", "classification", Classes(6), (".png",))


def test_right_classes_are_counted(animals: LabelledData, tmp_path: Path) -> None:
    results = run(animals, Recited(LOGITS), CROP, "classification", tmp_path / "log")
    # Of equal logits the first classes are the best ones.
    assert results[3]["best"] == [[1, 1.0], [2, 1.0], [3, 1.0], [4, 1.0], [5, 1.0]]
    # float32 numbers are written as short as they can be.
    assert results[1]["best"][3:] == [[1, 0.1], [0, 0.0]]
    score = score_classes(animals.samples, results, Classes(6))
    assert (score.top1, score.top5) == (0.25, 1)
    tallies = {t.label: (t.samples, t.right) for t in score.classes}
    assert tallies == {"class 0": (2, 1), "class 1": (1, 0), "class 2": (1, 0)}
    few = score_classes(animals.samples, results, Classes(5))
    assert few.top5 is None


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_log(
    animals: LabelledData, tmp_path: Path
) -> None:
    steps: list[tuple[int, int]] = []

    def go(network: Recited, path: Path, data: LabelledData = animals) -> list[dict[str, Any]]:
        steps.clear()
        with ProgressLog(path, binding_of(network, data, CROP, "classification")) as log:
            return evaluate(
                data, CROP, network, "classification", log, lambda *step: steps.append(step)
            )

    whole = go(Recited(LOGITS), tmp_path / "whole")
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for finished in range(4):
        path = tmp_path / f"{finished}"
        with pytest.raises(KeyboardInterrupt):
            go(Recited(LOGITS, breaks_after=finished), path)
        second = Recited(LOGITS)
        assert go(second, path) == whole
        assert len(second.asked) == 4 - finished
        assert steps == [(i + 1, 4 - finished) for i in range(4 - finished)]
        assert path.read_bytes() == (tmp_path / "whole").read_bytes()
    # A part of the data set is a beginning of the whole.
    part, rest = Recited(LOGITS), Recited(LOGITS)
    assert go(part, tmp_path / "part", animals.part(2)) == [whole[0], whole[2]]
    assert go(rest, tmp_path / "part") == whole
    assert (len(part.asked), len(rest.asked)) == (2, 2)


def test_a_log_is_bound_to_everything_that_matters(animals: LabelledData, tmp_path: Path) -> None:
    run(animals, Recited(LOGITS), CROP, "classification", tmp_path / "log")
    other = Recited(LOGITS)
    other.binding = {"network": "another"}
    wider = CentreCrop(9, 8, "nearest", CROP.mean, CROP.std)
    write_picture(tmp_path / "set" / "0" / "new.png", 0, (8, 8))
    more = read_labelled_data(tmp_path / "set", "classification", Classes(6), (".png",))
    for data, network, preparation, changed in (
        (animals, other, CROP, "network"),
        (animals, Recited(LOGITS), wider, "preparation"),
        (more, Recited(LOGITS), CROP, "dataset"),
    ):
        with pytest.raises(ArtefactError, match=f"another evaluation: {changed} was"):
            run(data, network, preparation, "classification", tmp_path / "log")


@pytest.mark.parametrize(
    ("task", "output", "part"),
    [
        ("classification", [np.nan, 0], "not finite"),
        ("detection", np.zeros(7), "holds no boxes"),
        ("detection", np.full((7, 1), np.inf), "finite"),
    ],
)
def test_output_that_makes_no_sense(
    cells: LabelledData, tmp_path: Path, task: str, output: Any, part: str
) -> None:
    network = Recited(dict.fromkeys(range(3), np.array(output, np.float32)))
    with pytest.raises(InputError, match=part):
        run(cells, network, LETTERBOX, task, tmp_path / "log")


@pytest.mark.parametrize(
    "result", [{}, [], {"best": [], "boxes": 3}, {"best": [1], "boxes": [[1]]}]
)
def test_results_that_are_none(cells: LabelledData, animals: LabelledData, result: Any) -> None:
    with pytest.raises(ArtefactError, match="--restart"):
        score_boxes(cells.samples, [result] * 3, CELLS)
    with pytest.raises(ArtefactError, match="--restart"):
        score_classes(animals.samples, [result] * 4, Classes(6))


def test_a_file_that_is_no_picture_stops_with_what_is_finished(
    animals: LabelledData, tmp_path: Path
) -> None:
    animals.samples[2].path.parent.joinpath("d.png").write_bytes(b"no picture")
    data = read_labelled_data(tmp_path / "set", "classification", Classes(6), (".png",))
    with pytest.raises(InputError, match=r"d\.png"):
        run(data, Recited(LOGITS), CROP, "classification", tmp_path / "log")
    assert len((tmp_path / "log").read_text().splitlines()) == 3


class Watching:
    """A network for frames of events that finds one box of the whole sensor."""

    def __init__(self) -> None:
        self.binding: Mapping[str, Any] = {}
        self.seen: list[int] = []

    def run(self, x: NDArray[Any]) -> Response:
        # Events are white, the grey of nothing is not.
        self.seen.append(int((x > 0.9).any(axis=(1, 2, 3, 4)).sum()))
        assert x.shape == (1, 2, 3, 320, 320)
        box = [160, 33 + 253 / 2, 320, 253, 0.9, 0]
        return Response(np.array(box, np.float32)[:, None], {}, 0.0)


def test_moments_of_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [
        (300_000, -50, 0, 354, 240, 0),
        (700_000, 0, 0, 304, 240, 1),
        (700_000, 400, 0, 9, 9, 1),
    ]
    write_gen1(tmp_path / "gen1", "a", [100_000, 290_000, 690_000], labels)
    write_gen1(tmp_path / "gen1", "b", [100_000], [(200_000, 0, 0, 304, 240, 0)])
    cars = Classes(2, ("car", "pedestrian"))
    preparation = EventFrames("polarity", 2, 250_000, (320, 320))
    data = read_labelled_data(tmp_path / "gen1", "detection", cars, preparation.suffixes)
    read: list[str] = []
    original = np.fromfile

    def noted(path: Path, *arguments: Any, **options: Any) -> Any:
        read.append(Path(path).name)
        return original(path, *arguments, **options)

    monkeypatch.setattr(np, "fromfile", noted)
    network = Watching()
    results = run(data, network, preparation, "detection", tmp_path / "log")
    assert read == ["a_td.dat", "b_td.dat"]
    assert network.seen == [1, 1, 1]
    assert results[0]["size"] == [304, 240]
    assert results[0]["boxes"][0][:4] == pytest.approx([0, 0, 304, 240], abs=1)
    score = score_boxes(data.samples, results, cars)
    # What lies beyond the sensor's borders is cut, so the first box is that of the whole sensor.
    assert isinstance(score, DetectionScore)
    assert {t.label: (t.objects, t.found, t.wrong) for t in score.classes} == {
        "car": (2, 2, 1),
        "pedestrian": (1, 0, 0),
    }
    # Right, wrong, right.
    assert score.classes[0].ap50_95 == pytest.approx((51 + 50 * 2 / 3) / 101)


@pytest.fixture
def noise(tmp_path: Path) -> tuple[LabelledData, Preparation]:
    folder = write_class_folders(tmp_path / "noise", ["cat", "dog", "frog"], each=2)
    preparation = CentreCrop(32, 32, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    classes = Classes(3, ("cat", "dog", "frog"))
    return read_labelled_data(folder, "classification", classes, (".png",)), preparation


def test_spikes_and_stored_networks_give_the_same_answers(
    tiny_integers: Graph, noise: tuple[LabelledData, Preparation], tmp_path: Path
) -> None:
    data, preparation = noise
    answers = {}
    networks: dict[str, EvaluatedNetwork] = {
        "spikes": Spikes(tiny_integers, threads=1),
        "reference": Spikes(tiny_integers, engine="reference"),
        "deployed": StoredOnnx(tiny_integers, DEPLOYED, 1),
        "float": StoredOnnx(tiny_integers, FLOAT, 1),
        "cheap": Spikes(tiny_integers, timesteps=1),
    }
    for name, network in networks.items():
        results = run(data, network, preparation, "classification", tmp_path / name)
        answers[name] = [result["best"] for result in results]
        if name == "spikes":
            x = preparation.read(data.samples[0].path).x
            assert results[0]["work"] == work_of(Simulator(tiny_integers).run(x))
            assert results[0]["work"]["ac"] > 0
    assert answers["spikes"] == answers["reference"] == answers["deployed"]
    assert answers["spikes"] not in (answers["float"], answers["cheap"])
    bindings = [json.dumps(network.binding) for network in networks.values()]
    assert len(set(bindings)) == len(networks)


def test_networks_that_are_not_there(tiny_graph: Graph, tiny_integers: Graph) -> None:
    with pytest.raises(InputError, match="no deployed network"):
        StoredOnnx(tiny_graph, DEPLOYED)
    for content in (b"\xff", tiny_integers.deployed[:5000]):
        with pytest.raises(ArtefactError, match="export the network again"):
            StoredOnnx(replace(tiny_integers, deployed=content), DEPLOYED)
    with pytest.raises(InputError, match=r"\[3, 32, 32\], not \[3, 8, 8\]"):
        StoredOnnx(tiny_integers, FLOAT).run(np.zeros((1, 3, 8, 8), np.float32))
