"""Data sets for classifiers: a folder for every class, or a list of files and their classes."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from s2f_deploy.errors import InputError
from s2f_sim.labelled_sample import Classes, LabelledSample, inside
from s2f_sim.prediction import printable

LISTS = (".csv", ".tsv", ".txt")
# ImageNet's folders; their alphabetical order is that of its classes.
_SYNSET = re.compile(r"n\d{8}")
_COLUMNS = 2

Found = tuple[list[LabelledSample], list[str]]
"""Samples, and what the user should know about them."""


def read_class_folders(folder: Path, classes: Classes, suffixes: Sequence[str]) -> Found:
    """Samples of a folder that holds one folder for every class.

    A folder is named as the class or its index. Where nothing of that fits, because the network has
    no names or the folders are ImageNet's synsets, as many folders as classes are taken in
    alphabetical order, as others do.

    Raises:
        InputError: a folder is named as no class, or there is no file in any.
    """
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise InputError(
            "it holds no folder for any class",
            where=str(folder),
            fix="sort the files into folders named as the classes, or give a list file,label",
        )
    indices: list[int | None] = [classes.index(f.name) for f in folders]
    notices = []
    if not any(i is not None for i in indices) and _alphabetical(folders, classes):
        indices = list(range(classes.count))
        notices.append("the folders were taken for the classes in alphabetical order")
    samples = []
    for class_folder, index in zip(folders, indices, strict=True):
        if index is None:
            raise classes.unknown(class_folder.name, str(class_folder))
        for path in sorted(class_folder.rglob("*")):
            if path.suffix.lower() in suffixes and path.is_file():
                key = path.relative_to(folder).as_posix()
                samples.append(LabelledSample(key, path, index))
    if not samples:
        raise InputError(
            "there is no file for the network in the folders of the classes",
            where=str(folder),
            fix=f"give {', '.join(suffixes)} files",
        )
    return samples, notices


def _alphabetical(folders: Sequence[Path], classes: Classes) -> bool:
    nameless = classes.names is None or all(_SYNSET.fullmatch(f.name) for f in folders)
    return len(folders) == classes.count and nameless


def read_class_list(
    file: Path, classes: Classes, suffixes: Sequence[str], images: Path | None
) -> Found:
    """Samples of a file with a line ``file,label`` for each.

    Tabs or blanks may stand for commas; a first line that names no file is a heading; lines that
    begin with # are comments. A file may be named without its extension.

    Args:
        file: the list, UTF-8.
        classes: a label is the name of one, or its index.
        suffixes: of files that the network takes.
        images: folder that the files lie in; that of the list if None.

    Raises:
        InputError: no such list, or a line with something else; it is named.
    """
    folder = images or file.parent
    samples = []
    for number, (name, label) in enumerate(_rows(file)):
        where = f"{file}: {printable(name)}"
        path = _completed(inside(folder, name, where), suffixes)
        index = classes.index(label)
        if index is None and not number and not path.exists():
            continue
        if index is None:
            raise classes.unknown(label, where)
        samples.append(LabelledSample(path.relative_to(folder).as_posix(), path, index))
    if not samples:
        raise InputError("the list names no file", where=str(file), fix="list file,label")
    return samples, []


def _rows(file: Path) -> Iterator[tuple[str, str]]:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            "the list cannot be read, or is no text in UTF-8", where=str(file), fix="write it again"
        ) from error
    filled = [(n, x) for n, x in enumerate(lines, 1) if x.strip() and not x.startswith("#")]
    separator = next((s for s in ",\t" if filled and s in filled[0][1]), None)
    for number, line in filled:
        try:
            cells = next(csv.reader([line], delimiter=separator)) if separator else line.split()
        except csv.Error:
            cells = []
        if len(cells) != _COLUMNS:
            raise InputError(
                f"line {number:,} is no file and label", where=str(file), fix="write file,label"
            )
        yield cells[0].strip(), cells[1].strip()


def _completed(path: Path, suffixes: Sequence[str]) -> Path:
    """The path, or that with the first extension there is a file of."""
    if path.suffix.lower() in suffixes:
        return path
    named = (path.with_name(path.name + suffix) for suffix in suffixes)
    return next((p for p in named if p.is_file()), path)
