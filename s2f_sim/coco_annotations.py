"""Data sets in the form of COCO: one JSON file about a folder of pictures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2f_deploy.errors import InputError
from s2f_sim.labelled_sample import (
    Classes,
    LabelledSample,
    Thing,
    coordinate,
    inside,
    truth_of,
    without_area,
)
from s2f_sim.prediction import printable

_INSTANCES = "instances_"
_SIDES = 4

Id = int | str


def read_coco(
    file: Path, classes: Classes, images: Path | None = None
) -> tuple[list[LabelledSample], list[str]]:
    """Samples of an annotation file such as ``instances_val2017.json``, in the order of their ids.

    Categories are told by name where the network has names, else taken in the order of their ids;
    one that nothing is annotated with may be unknown. Crowds may be found or not, at no cost.

    Args:
        file: the annotations.
        classes: of the network.
        images: folder of the pictures; if None, looked for beside the file and its folder.

    Returns:
        The samples, and what the user should know about them.

    Raises:
        InputError: the file cannot be read, or something in it makes no sense.

    Source: Lin et al. 2014, arXiv:1405.0312, and the format of the data set.
    """
    where = str(file)
    content = _content(file)
    listed = _tables(content, "images", where)
    pictures = {_id(picture, "id", where): picture for picture in listed}
    if len(pictures) < len(listed):
        raise _wrong("two of its images have the same id", where)
    things: dict[Id, list[Thing]] = {number: [] for number in pictures}
    indices = _class_indices(content, classes, where)
    elsewhere = 0
    for entry in _tables(content, "annotations", where):
        picture = _id(entry, "image_id", where)
        if picture in things:
            things[picture].append(_thing(entry, indices, classes, where))
        else:
            elsewhere += 1
    names = {number: _name(picture, where) for number, picture in pictures.items()}
    folder = images or _pictures_folder(file, next(iter(names.values())))
    samples, flat = [], 0
    for number in _in_order(pictures):
        truth, dropped = truth_of(things[number])
        samples.append(LabelledSample(names[number], inside(folder, names[number], where), truth))
        flat += dropped
    notices = without_area(flat)
    if elsewhere:
        notices.append(f"{elsewhere:,} annotations are about pictures that are not listed")
    return samples, notices


def _in_order(ids: Mapping[Id, Any]) -> list[Id]:
    """As others rank them: pictures with equal scores."""
    numbers = [n for n in ids if isinstance(n, int)]
    return list(ids) if len(numbers) < len(ids) else [*sorted(numbers)]


def _content(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise _wrong("the annotations cannot be read", str(file)) from error
    except (ValueError, RecursionError) as error:
        raise _wrong("the annotations are no JSON", str(file)) from error
    if not isinstance(content, dict):
        raise _wrong("the annotations are no table", str(file))
    return content


def _tables(content: Mapping[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    listed = content.get(name)
    if not isinstance(listed, list) or not all(isinstance(x, dict) for x in listed):
        raise _wrong(f"there is no list of {name} in it", where)
    if not listed and name == "images":
        raise _wrong("it lists no images", where)
    return listed


def _id(entry: Mapping[str, Any], name: str, where: str) -> Id:
    value = entry.get(name)
    # True is a number, too.
    if type(value) in (int, str):
        number: Id = value  # type: ignore[assignment]
        return number
    raise _wrong(f"{printable(repr(value)[:40])} is no {name}", where)


def _name(picture: Mapping[str, Any], where: str) -> str:
    name = picture.get("file_name")
    if not isinstance(name, str):
        raise _wrong(f"image {printable(repr(picture.get('id'))[:40])} has no file_name", where)
    return name


def _class_indices(content: Mapping[str, Any], classes: Classes, where: str) -> dict[Id, int | str]:
    """Of every category the network's class, or the category's name where that is no class."""
    categories = {_id(c, "id", where): c for c in _tables(content, "categories", where)}
    if classes.names is None:
        if len(categories) != classes.count:
            raise _wrong(
                f"it has {len(categories)} categories, the network {classes.count} classes "
                "without names",
                where,
            )
        return {number: index for index, number in enumerate(_in_order(categories))}
    found: dict[Id, int | str] = {}
    for number, category in categories.items():
        name = category.get("name")
        if not isinstance(name, str):
            raise _wrong(f"category {printable(str(number))} has no name", where)
        index = classes.index(name)
        found[number] = name if index is None else index
    return found


def _thing(
    entry: Mapping[str, Any], indices: Mapping[Id, int | str], classes: Classes, where: str
) -> Thing:
    category = _id(entry, "category_id", where)
    index = indices.get(category, f"category {category}")
    if isinstance(index, str):
        raise classes.unknown(index, where)
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != _SIDES:
        raise _wrong(f"{printable(repr(box)[:40])} is no box of x, y, width, height", where)
    left, top, width, height = (coordinate(side, where) for side in box)
    return (left, top, left + width, top + height), index, bool(entry.get("iscrowd", 0))


def _pictures_folder(file: Path, first: str) -> Path:
    """Where the first picture is, of the folders in which it usually is."""
    split = file.stem.removeprefix(_INSTANCES)
    above = file.parent.parent
    usual = (
        file.parent,
        file.parent / split,
        above / split,
        above / "images" / split,
        above / "images",
        file.parent / "images",
    )
    for folder in usual:
        if inside(folder, first, str(file)).is_file():
            return folder
    raise InputError(
        f"its first picture, {printable(first)!r}, is in none of "
        f"{', '.join(dict.fromkeys(str(folder) for folder in usual))}",
        where=str(file),
        fix="name the folder of the pictures with --images",
    )


def _wrong(what: str, where: str) -> InputError:
    return InputError(what, where=where, fix="give annotations in COCO's form, as they came")
