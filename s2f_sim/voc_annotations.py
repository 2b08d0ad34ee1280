"""Data sets in the form of PASCAL VOC: a picture and an XML file for each."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.parsers import expat

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

ANNOTATIONS, PICTURES, SPLITS = "Annotations", "JPEGImages", "ImageSets/Main"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LARGEST_FILE = 1 << 24


def read_voc(
    folder: Path,
    classes: Classes,
    suffixes: Sequence[str],
    images: Path | None = None,
    split: str | None = None,
) -> tuple[list[LabelledSample], list[str]]:
    """Samples of a folder with ``Annotations``, ``JPEGImages`` and perhaps ``ImageSets/Main``.

    Objects marked as difficult need not be found, and cost nothing if they are: they are taken for
    crowds. Corners are taken as they are written, without VOC's own offset of one pixel, which
    annotation programs of today do not write.

    Args:
        folder: of the data set.
        classes: of the network; objects are told by name.
        suffixes: of pictures.
        images: folder of the pictures, where it is not ``JPEGImages``.
        split: the list in ``ImageSets/Main``; every annotated picture if None.

    Returns:
        The samples, and what the user should know about them.

    Raises:
        InputError: a list, annotation or class does not exist or makes no sense.

    Source: Everingham et al. 2010, the PASCAL VOC challenge.
    """
    pictures = images or folder / PICTURES
    lists = sorted(path.stem for path in (folder / SPLITS).glob("*.txt"))
    names = _names(folder, split, lists)
    samples, flat = [], 0
    for name in names:
        things = _things(inside(folder / ANNOTATIONS, f"{name}.xml", str(folder)), classes)
        truth, dropped = truth_of(things)
        samples.append(LabelledSample(name, _picture(pictures, name, suffixes), truth))
        flat += dropped
    notices = without_area(flat)
    if split is None and lists:
        notices.append(
            f"every annotated picture is taken; --split chooses one of {', '.join(lists)}"
        )
    return samples, notices


def _names(folder: Path, split: str | None, lists: Sequence[str]) -> list[str]:
    if split is None:
        found = sorted(path.stem for path in (folder / ANNOTATIONS).glob("*.xml"))
        if not found:
            raise InputError(
                "it holds no XML files",
                where=str(folder / ANNOTATIONS),
                fix="give a folder with Annotations/*.xml and JPEGImages",
            )
        return found
    if split not in lists:
        known = f"one of {', '.join(lists)}" if lists else "no --split: it has none"
        raise InputError(
            f"the data set has no split {printable(split)!r}",
            where=str(folder / SPLITS),
            fix=f"give {known}",
        )
    listed = folder / SPLITS / f"{split}.txt"
    try:
        lines = listed.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            "the list of names cannot be read", where=str(listed), fix="write it again"
        ) from error
    # Lists of one class have a mark behind every name.
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise InputError("the list names no picture", where=str(listed), fix="fill it")
    return names


def _picture(folder: Path, name: str, suffixes: Sequence[str]) -> Path:
    plain = inside(folder, name, str(folder))
    named = [plain.with_name(plain.name + suffix) for suffix in (".jpg", *suffixes)]
    return next((path for path in named if path.is_file()), named[0])


def _things(file: Path, classes: Classes) -> list[Thing]:
    things: list[Thing] = []
    for found in parse_xml(file).findall("object"):
        name = (found.findtext("name") or "").strip()
        index = classes.index(name)
        if index is None:
            raise classes.unknown(name, str(file))
        corners = [coordinate(found.findtext(f"bndbox/{key}"), str(file)) for key in _CORNERS]
        difficult = (found.findtext("difficult") or "0").strip() not in ("0", "false", "False")
        things.append(((corners[0], corners[1], corners[2], corners[3]), index, difficult))
    return things


def parse_xml(file: Path) -> ET.Element:
    """The root of a file that anybody may have made.

    Raises:
        InputError: no such file, too large, no XML, or with a document type: entities could fill
            the memory or read other files, and annotations have none.
    """
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise _unusable(file, f"the annotation is larger than {_LARGEST_FILE:,} bytes")
        parser.Parse(content, True)
    except OSError as error:
        raise _unusable(file, "the annotation is missing, or cannot be read") from error
    except _DocumentTypeError as error:
        raise _unusable(
            file, "the annotation has a document type, which could hide other files"
        ) from error
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise _unusable(file, f"the annotation is no XML: {printable(str(error))}") from error
    return builder.close()


class _DocumentTypeError(Exception):
    """Raised out of the parser."""


def _refuse(*_: object) -> None:
    raise _DocumentTypeError


def _unusable(file: Path, what: str) -> InputError:
    return InputError(
        what, where=str(file), fix="annotate the picture again, or take it off the list"
    )
