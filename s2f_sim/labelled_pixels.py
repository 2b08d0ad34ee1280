"""Data sets for segmentation: pictures, and for each a PNG file with the class of every pixel."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from s2f_deploy.errors import InputError
from s2f_sim.label_map import SUFFIX, LabelMap, Numbering
from s2f_sim.labelled_sample import LabelledSample
from s2f_sim.prediction import printable
from s2f_sim.voc_annotations import PICTURES

MASKS, SPLITS = "SegmentationClass", "ImageSets/Segmentation"
# What CamVid's folders of annotations have behind the names of the splits.
_ANNOTATED = "annot"
_USUAL_SPLIT = "test"
# Names of annotations and of their pictures, without what is before.
_ENDINGS = (("_gtFine_labelTrainIds", "_leftImg8bit"), ("_masks", "_img"), ("", ""))
_PICTURE, _OBJECTS = "_img", "_masks"

Found = tuple[list[LabelledSample], list[str]]
"""Samples, and what the user should know about them."""


def split_folders(folder: Path) -> list[str]:
    """Names of splits: folders that have another one of annotations beside them.

    As CamVid has it: ``test`` and ``testannot``.
    """
    found = (p.name.removesuffix(_ANNOTATED) for p in folder.glob(f"?*{_ANNOTATED}") if p.is_dir())
    return sorted(name for name in found if (folder / name).is_dir())


def has_pairs(folder: Path) -> bool:
    """Whether pictures have annotations beside them, ``1_img.png`` and ``1_masks.png``."""
    return any(
        path.with_name(f"{path.stem.removesuffix(_OBJECTS)}{_PICTURE}{SUFFIX}").is_file()
        for path in folder.rglob(f"*{_OBJECTS}{SUFFIX}")
    )


def read_split_folders(
    folder: Path, suffixes: Sequence[str], numbering: Numbering, split: str | None
) -> Found:
    """Samples of one split of a folder as CamVid's; ``test`` if none is chosen.

    Raises:
        InputError: there is no such split, or a picture is missing.
    """
    known = split_folders(folder)
    chosen = split or (_USUAL_SPLIT if _USUAL_SPLIT in known else known[0])
    if chosen not in known:
        raise _no_split(folder, chosen, known)
    samples, notices = read_two_folders(
        folder / f"{chosen}{_ANNOTATED}", suffixes, numbering, folder / chosen
    )
    if split is None and len(known) > 1:
        notices.append(f"{chosen} is taken; --split chooses one of {', '.join(known)}")
    return samples, notices


def read_pairs(folder: Path, numbering: Numbering) -> Found:
    """Samples of a folder as Cellpose's: masks are numbered objects, all of class 1.

    Raises:
        InputError: there are none, or a picture is missing.
    """
    return read_two_folders(folder, (SUFFIX,), replace(numbering, objects=True), folder, _OBJECTS)


def read_masks(
    folder: Path,
    suffixes: Sequence[str],
    numbering: Numbering,
    images: Path | None,
    split: str | None,
) -> Found:
    """Samples of a folder in the form of PASCAL VOC, with ``SegmentationClass``.

    Raises:
        InputError: there is no such split, or a picture is missing.
    """
    known = sorted(path.stem for path in (folder / SPLITS).glob("*.txt"))
    samples, notices = read_two_folders(
        folder / MASKS, suffixes, numbering, images or folder / PICTURES
    )
    if split is None:
        if known:
            notices.append(
                f"every annotated picture is taken; --split chooses one of {', '.join(known)}"
            )
        return samples, notices
    if split not in known:
        raise _no_split(folder / SPLITS, split, known)
    names = (folder / SPLITS / f"{split}.txt").read_text("utf-8", "replace").split()
    by_name = {sample.path.stem: sample for sample in samples}
    missing = [name for name in names if name not in by_name]
    if missing or not names:
        raise InputError(
            f"the split names {printable(missing[0])!r}, which has no annotation"
            if missing
            else "the split names no picture",
            where=str(folder / SPLITS / f"{split}.txt"),
            fix="complete the data set, or correct the list",
        )
    return [by_name[name] for name in dict.fromkeys(names)], notices


def read_two_folders(
    annotations: Path,
    suffixes: Sequence[str],
    numbering: Numbering,
    images: Path,
    ending: str = "",
) -> Found:
    """Samples of annotations and of pictures of the same names, in two folders or in one.

    Folders in them are looked through, too. Cityscapes' two endings belong together.

    Args:
        annotations: folder of PNG files.
        suffixes: of pictures.
        numbering: of annotations.
        images: folder of pictures.
        ending: of the names of annotations; others are left alone.

    Raises:
        InputError: there are no annotations, or one has no picture.
    """
    # Cityscapes has several annotations for every picture; these are the ones with classes.
    ours = sorted(annotations.rglob(f"*{_ENDINGS[0][0]}{SUFFIX}"))
    files = ours or sorted(annotations.rglob(f"*{ending}{SUFFIX}"))
    samples = []
    for file in files:
        relative = file.relative_to(annotations)
        found = next((p for p in _pictures(images / relative, suffixes) if p.is_file()), None)
        if found is None:
            raise InputError(
                "the annotation has no picture of its name",
                where=printable(str(file)),
                fix=f"complete {images}, or choose another folder with --images",
            )
        key = found.relative_to(images).as_posix()
        samples.append(LabelledSample(key, found, LabelMap(file, numbering)))
    if not samples:
        raise InputError(
            "there are no annotations",
            where=str(annotations),
            fix=f"give {SUFFIX} files whose pixels are class numbers",
        )
    return samples, []


def _pictures(annotation: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Where the picture of an annotation may lie."""
    for theirs, ours in _ENDINGS:
        if annotation.stem.endswith(theirs):
            stem = annotation.stem.removesuffix(theirs) + ours
            yield from (annotation.with_name(stem + suffix) for suffix in (".jpg", *suffixes))


def _no_split(folder: Path, split: str, known: Sequence[str]) -> InputError:
    return InputError(
        f"the data set has no split {printable(split)!r}",
        where=str(folder),
        fix=f"give one of {', '.join(known)}" if known else "leave --split out: it has none",
    )
