"""Small labelled data sets, written to a folder in each of the known forms."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[float, float, float, float]
Thing = tuple[str, Box]


def write_picture(path: Path, number: int, size: tuple[int, int] = (96, 48)) -> None:
    """A grey picture that says its number by its brightness; width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), number, np.uint8)
    Image.fromarray(pixels).save(path)


def write_class_folders(folder: Path, names: Sequence[str], each: int = 4) -> Path:
    """``each`` pictures of noise for every class."""
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 256, (36, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def voc_object(name: str, box: Sequence[object], difficult: object = 0) -> str:
    """One object of an annotation."""
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{key}>{side}</{key}>" for key, side in corners)
    mark = f"<difficult>{difficult}</difficult>"
    return f"<object><name>{name}</name>{mark}<bndbox>{inner}</bndbox></object>"


def write_voc(
    folder: Path, pictures: Mapping[str, Sequence[Thing]], splits: Mapping[str, Sequence[str]] = {}
) -> Path:
    """Grey pictures that say their position by their brightness, and their annotations."""
    (folder / "Annotations").mkdir(parents=True)
    for number, (name, things) in enumerate(pictures.items()):
        write_picture(folder / "JPEGImages" / f"{name}.png", number)
        objects = "".join(voc_object(*thing) for thing in things)
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    for split, names in splits.items():
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names))
    return folder


def write_coco(file: Path, content: Mapping[str, Any]) -> Path:
    """An annotation file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


LABEL = np.dtype(
    [("ts", "<u8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "u1")]
)


def write_recording(path: Path, times: Sequence[int]) -> Path:
    """A DAT file of Gen1's sensor with an event at each time, at column 10 times its position."""
    words = [(10 * i % 300) | (20 << 14) | (1 << 28) for i in range(len(times))]
    events = np.array(list(zip(times, words, strict=True)), [("t", "<u4"), ("word", "<u4")])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"% a test\n" + bytes([0, 8]) + events.tobytes())
    return path


def write_gen1(
    folder: Path, name: str, times: Sequence[int], labels: Sequence[tuple[Any, ...]]
) -> NDArray[Any]:
    """A recording and its labels (time, x, y, w, h, class)."""
    write_recording(folder / f"{name}_td.dat", times)
    table = np.array(labels, LABEL)
    np.save(folder / f"{name}_bbox.npy", table)
    return table


def write_label_map(path: Path, labels: NDArray[Any]) -> None:
    """An annotation of the class of every pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)
