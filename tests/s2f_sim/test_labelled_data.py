import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_sets import (
    LABEL,
    voc_object,
    write_class_folders,
    write_coco,
    write_gen1,
    write_picture,
    write_voc,
)

from s2f_deploy.errors import InputError
from s2f_sim.average_precision import Truth
from s2f_sim.labelled_data import LabelledData, read_labelled_data
from s2f_sim.labelled_sample import Classes

CELLS = Classes(3, ("RBC", "WBC", "Platelets"))
ANIMALS = Classes(3, ("ant", "bee", "big cat"))
PICTURES = (".png", ".jpg")


def classified(path: Path, classes: Classes = ANIMALS, **options: Any) -> LabelledData:
    return read_labelled_data(path, "classification", classes, PICTURES, **options)


def detected(
    path: Path, classes: Classes = CELLS, suffixes: Sequence[str] = PICTURES, **options: Any
) -> LabelledData:
    return read_labelled_data(path, "detection", classes, suffixes, **options)


def targets(data: LabelledData) -> dict[str, Any]:
    return {
        s.key: s.target
        if not isinstance(s.target, Truth)
        else list(
            zip(
                s.target.boxes.tolist(),
                s.target.classes.tolist(),
                s.target.crowd.tolist(),
                strict=True,
            )
        )
        for s in data.samples
    }


def assert_refused(read: Callable[[], object], *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        read()
    message = str(caught.value)
    for part in ("at:", "fix:", *parts):
        assert part in message


def test_folders_named_as_classes_or_numbered(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "a", ["Bee", "big cat", "0"], each=2)
    (tmp_path / "a" / "Bee" / "notes.txt").write_text("no picture")
    (tmp_path / "a" / ".hidden").mkdir()
    data = classified(tmp_path / "a")
    assert targets(data) == {
        "0/0.png": 0,
        "0/1.png": 0,
        "Bee/0.png": 1,
        "Bee/1.png": 1,
        "big cat/0.png": 2,
        "big cat/1.png": 2,
    }
    assert (data.whole, data.notices) == (6, ())
    assert [s.key for s in data.part(3).samples] == ["0/0.png", "Bee/0.png", "big cat/0.png"]
    assert data.part(3).digest == data.digest


def test_names_that_are_numbers_are_names() -> None:
    classes = Classes(3, ("2", "0", "twin"))
    assert [classes.index(x) for x in ("2", "0", "1", "3", "-1", "²", "")] == [
        0,
        1,
        1,
        None,
        None,
        None,
        None,
    ]
    assert Classes(2, ("crane", "crane")).index("crane") is None


def test_other_folders_are_classes_in_alphabetical_order_where_that_is_all_there_is(
    tmp_path: Path,
) -> None:
    synsets = ["n01443537", "n01440764", "n01484850"]
    write_class_folders(tmp_path / "imagenet", synsets, each=1)
    data = classified(tmp_path / "imagenet")
    assert list(targets(data).values()) == [0, 1, 2]
    assert data.samples[0].path.parent.name == "n01440764"
    assert "alphabetical" in data.notices[0]
    write_class_folders(tmp_path / "foreign", ["Ameise", "Biene", "Katze"], each=1)
    assert list(targets(classified(tmp_path / "foreign", Classes(3))).values()) == [0, 1, 2]
    assert_refused(lambda: classified(tmp_path / "foreign"), "'Ameise' names no class", "ant")
    assert_refused(lambda: classified(tmp_path / "foreign", Classes(4)), "0 to 3")


def test_lists_with_commas_tabs_and_blanks(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "files", ["x"], each=3) / "x"
    expected = {"0.png": 2, "1.png": 0, "2.png": 1}
    for name, text in {
        "a.csv": 'file,label\n0.png,big cat\n"1.png",0\n2.png, bee\n',
        "b.tsv": "\ufeff0.png\tbig cat\n\n1.png\tANT\n2.png\t1\n",
        "c.txt": "#sample #class\n0 2\n1 0\n2\t1\n".replace("\t", " "),
    }.items():
        (folder / name).write_text(text)
        assert targets(classified(folder / name)) == expected
    (tmp_path / "list.csv").write_text("x\\0.png,1\n")
    data = classified(tmp_path / "list.csv", images=tmp_path / "files")
    assert targets(data) == {"x/0.png": 1}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.png,dog\n1.png,bee\n", ["'dog' names no class", "0.png"]),
        ("0.png,ant\n9.png,bee\n", ["1 of 2 files", "9.png"]),
        ("0.png,ant\n0.png,bee\n", ["lists '0.png' twice"]),
        ("../../../etc/passwd,ant\n", ["leads out"]),
        ("/etc/passwd,ant\n", ["leads out"]),
        ("C:\\x.png,ant\n", ["leads out"]),
        ("0.png,ant,3\n", ["line 1"]),
        ("0.png,ant\n\n1.png\n", ["line 3"]),
        ("file,label\n", ["names no file"]),
        ("", ["names no file"]),
        ("\0\n", ["line 1"]),
        ("a\0.png,ant\n", ["leads out"]),
        (f"{'x' * 5000}.png,ant\n", ["1 of 1 files"]),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, text: str, parts: list[str]) -> None:
    folder = write_class_folders(tmp_path / "files", ["x"], each=2) / "x"
    (folder / "list.csv").write_text(text)
    assert_refused(lambda: classified(folder / "list.csv"), *parts)


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00\xd8")
    assert_refused(lambda: classified(tmp_path / "list.csv"), "no text")


def test_voc(tmp_path: Path) -> None:
    folder = write_voc(
        tmp_path / "voc",
        {
            "b": [("RBC", (1, 2, 30, 40)), ("platelets", (5.5, 6, 7, 8))],
            "a": [("WBC", (9, 9, 9, 20))],
            "c": [],
        },
        {"test": ["b 1", "c -1"], "train": ["a"]},
    )
    data = detected(folder)
    assert targets(data) == {
        "a": [],
        "b": [([1, 2, 30, 40], 0, False), ([5.5, 6, 7, 8], 2, False)],
        "c": [],
    }
    assert data.notices[0].startswith("1 annotated boxes have no area")
    assert "test, train" in data.notices[1]
    test = detected(folder, split="test")
    assert [s.path.name for s in test.samples] == ["b.png", "c.png"]
    assert test.notices == ()
    assert test.digest != data.digest
    assert_refused(lambda: detected(folder, split="val"), "no split 'val'", "test, train")
    assert_refused(lambda: detected(folder, split="../../x"), "no split")
    assert_refused(lambda: detected(folder, Classes(3)), "names no class", "without names")
    assert_refused(lambda: detected(folder).part(1), "no object")


def test_difficult_objects_cost_nothing(tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "voc", {"a": []})
    objects = voc_object("RBC", (1, 1, 5, 5), difficult=1) + voc_object("WBC", (1, 1, 5, 5))
    (folder / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    (truth,) = (s.target for s in detected(folder).samples)
    assert isinstance(truth, Truth)
    assert truth.crowd.tolist() == [True, False]


ENTITY = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (ENTITY.encode(), ["document type"]),
        (ENTITY.encode("utf-16"), ["document type"]),
        (b"<annotation>", ["no XML"]),
        (b"", ["no XML"]),
        (b"\x89PNG", ["no XML"]),
        (b'<?xml version="1.0" encoding="nonsense"?><annotation/>', ["no XML"]),
        (f"<a>{voc_object('cell', (1, 1, 2, 2))}</a>".encode(), ["'cell' names no class"]),
        (f"<a>{voc_object('RBC', ('nan', 1, 2, 2))}</a>".encode(), ["'nan' is no coordinate"]),
        (f"<a>{voc_object('RBC', ('1e99', 1, 2, 2))}</a>".encode(), ["no coordinate"]),
        (b"<a><object><name>RBC</name></object></a>", ["None is no coordinate"]),
        (b"<a><object/></a>", ["'' names no class"]),
        (b" " * (1 << 24) + b"<a/>", ["larger"]),
    ],
)
def test_voc_annotations_that_are_wrong(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    folder = write_voc(tmp_path / "voc", {"a": []})
    (folder / "Annotations" / "a.xml").write_bytes(content)
    assert_refused(lambda: detected(folder), "a.xml", *parts)


def test_voc_files_that_are_missing(tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "voc", {"a": []}, {"test": ["a", "gone"], "out": ["../../x"]})
    assert_refused(lambda: detected(folder, split="test"), "gone.xml", "missing")
    assert_refused(lambda: detected(folder, split="out"), "leads out")
    (folder / "JPEGImages" / "a.png").unlink()
    assert_refused(lambda: detected(folder), "1 of 1 files", "a.jpg")
    # A pipe would be waited for.
    os.mkfifo(folder / "JPEGImages" / "a.png")
    assert_refused(lambda: detected(folder), "1 of 1 files")
    (folder / "Annotations" / "a.xml").unlink()
    assert_refused(lambda: detected(folder), "no XML files")


def coco(**changed: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "images": [
            {"id": 30, "file_name": "thirty.png"},
            {"id": 4, "file_name": "deep/four.png"},
        ],
        "annotations": [
            {"image_id": 4, "category_id": 7, "bbox": [1, 2, 3, 4], "iscrowd": 0},
            {"image_id": 4, "category_id": 2, "bbox": [0, 0.5, 9, 9], "iscrowd": 1},
            {"image_id": 30, "category_id": 7, "bbox": [1, 2, 0, 4]},
            {"image_id": 5, "category_id": 7, "bbox": [1, 2, 3, 4]},
        ],
        "categories": [
            {"id": 7, "name": "rbc"},
            {"id": 2, "name": "Platelets"},
            {"id": 0, "name": "cells"},
        ],
    }
    return content | changed


@pytest.fixture
def coco_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "coco"
    write_picture(folder / "val" / "thirty.png", 1)
    write_picture(folder / "val" / "deep" / "four.png", 2)
    return folder


def test_coco(coco_folder: Path) -> None:
    file = write_coco(coco_folder / "annotations" / "instances_val.json", coco())
    data = detected(file)
    assert targets(data) == {
        "deep/four.png": [([1, 2, 4, 6], 0, False), ([0, 0.5, 9, 9.5], 2, True)],
        "thirty.png": [],
    }
    assert [s.path.parent.name for s in data.samples] == ["deep", "val"]
    assert [n.split(" ", 1)[0] for n in data.notices] == ["1", "1"]
    # Without names the order of the ids counts, also those that nothing is annotated with.
    nameless = targets(detected(file, Classes(3)))["deep/four.png"]
    assert [label for _, label, _ in nameless] == [2, 1]
    assert_refused(lambda: detected(file, Classes(2)), "3 categories", "2 classes")
    beside = write_coco(coco_folder / "elsewhere.json", coco())
    assert_refused(lambda: detected(beside), "'thirty.png', is in none of")
    assert targets(detected(beside, images=coco_folder / "val")) == targets(data)


IMAGE = {"id": 1, "file_name": "thirty.png"}
BOX = {"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"images": []}, ["no images"]),
        ({"images": None}, ["no list of images"]),
        ({"images": [3]}, ["no list of images"]),
        ({"annotations": None}, ["no list of annotations"]),
        ({"categories": {}}, ["no list of categories"]),
        ({"images": [IMAGE, IMAGE]}, ["same id"]),
        ({"images": [IMAGE, IMAGE | {"id": 2}]}, ["'thirty.png' twice"]),
        ({"images": [IMAGE | {"id": True}]}, ["True is no id"]),
        ({"images": [{"id": 1}]}, ["no file_name"]),
        ({"images": [IMAGE | {"file_name": "../../../../etc/passwd"}]}, ["leads out"]),
        ({"images": [IMAGE | {"file_name": "/etc/passwd"}]}, ["leads out"]),
        ({"images": [IMAGE | {"file_name": ""}]}, ["leads out"]),
        ({"images": [IMAGE, {"id": 2, "file_name": "gone.png"}]}, ["1 of 2 files", "gone.png"]),
        ({"images": [IMAGE], "annotations": [BOX | {"bbox": [1, 2, 3]}]}, ["is no box"]),
        ({"images": [IMAGE], "annotations": [BOX | {"bbox": [1, 2, 3, "x"]}]}, ["coordinate"]),
        ({"images": [IMAGE], "annotations": [BOX | {"bbox": [1, 2, 3, True]}]}, ["coordinate"]),
        ({"images": [IMAGE], "annotations": [BOX | {"bbox": [1, 2, 10**400, 3]}]}, ["coordinate"]),
        ({"images": [IMAGE], "annotations": [{"image_id": 1}]}, ["None is no category_id"]),
        (
            {"images": [IMAGE], "annotations": [BOX | {"category_id": 0}]},
            ["'cells' names no class"],
        ),
        ({"images": [IMAGE], "annotations": [BOX | {"category_id": 9}]}, ["'category 9' names"]),
        ({"categories": [{"id": 7}]}, ["category 7 has no name"]),
    ],
)
def test_coco_annotations_that_are_wrong(
    coco_folder: Path, changed: dict[str, Any], parts: list[str]
) -> None:
    file = write_coco(coco_folder / "a.json", coco(**changed))
    assert_refused(lambda: detected(file, images=coco_folder / "val"), *parts)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 200_000, b"NaN"])
def test_coco_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert_refused(lambda: detected(tmp_path / "a.json"), "a.json", "COCO's form")


CARS = Classes(2, ("car", "pedestrian"))


def gen1(path: Path) -> LabelledData:
    return detected(path, CARS, (".dat",))


def test_gen1_has_a_sample_for_every_labelled_moment(tmp_path: Path) -> None:
    labels = [
        (500_000, -3, 2, 13, 20, 0),
        (500_000, 30, 2, 10, 20, 1),
        (600_000, 1, 2, 0, 20, 0),
        (600_000, 1, 2, 5, 20, 0),
    ]
    table = write_gen1(tmp_path / "gen1", "drive", [1000, 490_000, 590_000], labels)
    data = gen1(tmp_path / "gen1")
    assert targets(data) == {
        "drive_td.dat@500000": [([-3, 2, 10, 22], 0, False), ([30, 2, 40, 22], 1, False)],
        "drive_td.dat@600000": [([1, 2, 6, 22], 0, False)],
    }
    assert [s.at_us for s in data.samples] == [500_000, 600_000]
    assert data.notices == ("1 annotated boxes have no area and were left out",)
    renamed = table.astype([("t" if n == "ts" else n, LABEL[n]) for n in LABEL.names or ()])
    np.save(tmp_path / "gen1" / "drive_bbox.npy", renamed)
    assert targets(gen1(tmp_path / "gen1")) == targets(data)


class Hostile:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch ran",)


def test_gen1_labels_that_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "gen1"
    good = write_gen1(folder, "drive", [1000], [(500, 1, 2, 3, 4, 1)])
    file = folder / "drive_bbox.npy"
    whole = file.read_bytes()
    promised = whole.replace(b"(1,)", b"(10000000000000,)")
    for content in (whole[:-1], whole[:40], b"", b"\x93NUMPY\x09\x00", promised):
        file.write_bytes(content)
        assert_refused(lambda: gen1(folder), "drive_bbox.npy", "NumPy")
    for array, part in (
        (np.array([Hostile()], object), "NumPy"),
        (np.zeros(3), "fields are not t or ts"),
        (good.reshape(1, 1), "not lists"),
        (good[["ts", "x"]], "fields are not"),
        (good[:0], "labels anything"),
    ):
        np.save(file, array, allow_pickle=True)
        assert_refused(lambda: gen1(folder), part)
    for field, value in (("class_id", 2), ("ts", 1 << 60), ("x", np.nan)):
        wrong = good.copy()
        wrong[field] = value
        np.save(file, wrong)
        assert_refused(lambda: gen1(folder), "drive_bbox.npy")
    np.savez(folder / "several.npz", good)
    (folder / "several.npz").rename(file)
    assert_refused(lambda: gen1(folder), "drive_bbox.npy")
    np.save(file, good)
    (folder / "drive_td.dat").unlink()
    assert_refused(lambda: gen1(folder), "recording is missing", "drive_td.dat")
    assert not (tmp_path / "ran").exists()


def test_what_is_no_data_set_says_what_was_looked_for(tmp_path: Path) -> None:
    assert_refused(lambda: classified(tmp_path / "gone"), "no such data set", "file,label")
    assert_refused(lambda: detected(tmp_path), "COCO", "PASCAL VOC", "Gen1", str(tmp_path))
    assert_refused(lambda: classified(tmp_path), "no folder for any class")
    (tmp_path / "ant").mkdir()
    assert_refused(lambda: classified(tmp_path), "no file for the network", ".png")
    assert_refused(lambda: classified(tmp_path, split="test"), "--split is for PASCAL VOC")
    assert_refused(lambda: classified(tmp_path, images=tmp_path), "--images is for")


def test_the_digest_is_of_names_sizes_and_labels(coco_folder: Path) -> None:
    file = coco_folder / "a.json"

    def digest(**changed: Any) -> str:
        write_coco(file, coco(**changed))
        return detected(file, images=coco_folder / "val").digest

    first = digest()
    assert digest(info={"date": "today"}) == first
    moved = json.loads(json.dumps(coco()["annotations"]))
    moved[0]["bbox"][0] = 1.5
    other = {digest(annotations=moved), digest(images=coco()["images"][:1])}
    write_picture(coco_folder / "val" / "thirty.png", 1, (900, 600))
    assert len({first, digest(), *other}) == 4
