"""Reading labelled data sets, told apart by what lies at their path."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from s2f_deploy.errors import InputError
from s2f_sim.answer import CLASSIFICATION, DETECTION, SEGMENTATION
from s2f_sim.average_precision import Truth
from s2f_sim.class_labels import LISTS, read_class_folders, read_class_list
from s2f_sim.coco_annotations import read_coco
from s2f_sim.dataset import evenly
from s2f_sim.gen1_labels import LABELS, read_gen1
from s2f_sim.label_map import Numbering
from s2f_sim.labelled_pixels import (
    MASKS,
    has_pairs,
    read_masks,
    read_pairs,
    read_split_folders,
    read_two_folders,
    split_folders,
)
from s2f_sim.labelled_sample import Classes, LabelledSample, digest_of
from s2f_sim.voc_annotations import ANNOTATIONS, PICTURES, read_voc

FOLDERS, LIST = "a folder for every class", "a list of files and classes"
COCO, VOC, GEN1 = "COCO annotations", "PASCAL VOC annotations", "recordings with labelled boxes"
MAPS, SPLIT_MAPS = "label maps of the pictures' names", "folders of pictures and of label maps"
VOC_MAPS, PAIRS = "PASCAL VOC label maps", "pictures with masks of objects beside them"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledData:
    """A data set, or a part of one.

    Attributes:
        path: as the user named it.
        form: what it was recognised as.
        samples: of it; at least one.
        whole: how many the data set has.
        digest: sha256 of names, sizes and labels of the whole data set.
        notices: what the user should know about it.
    """

    path: Path
    form: str
    samples: tuple[LabelledSample, ...]
    whole: int
    digest: str
    notices: tuple[str, ...] = ()

    def part(self, count: int | None) -> "LabelledData":
        """``count`` of the samples, evenly spaced, or all.

        Raises:
            InputError: there is nothing in any of them that could be found.
        """
        chosen = tuple(evenly(self.samples, count))
        truths = [s.target for s in chosen if isinstance(s.target, Truth)]
        if truths and all(truth.crowd.all() for truth in truths):
            raise InputError(
                "no object that should be found is annotated in any of the samples",
                where=str(self.path),
                fix="take more samples, or annotate them",
            )
        return replace(self, samples=chosen)


def read_labelled_data(
    path: Path,
    task: str,
    classes: Classes,
    suffixes: Sequence[str],
    *,
    images: Path | None = None,
    split: str | None = None,
    numbering: Numbering | None = None,
) -> LabelledData:
    """The samples of a data set.

    Of classification: a folder with a folder for every class, or a list of files and classes. Of
    detection: COCO annotations, a folder in the form of PASCAL VOC, or a folder of recordings with
    labelled boxes in the form of Gen1. Of segmentation: PNG files with class numbers, in a folder
    of their own, beside that of the pictures as in CamVid, in the form of PASCAL VOC, or as
    Cellpose's masks.

    Args:
        path: of the data set.
        task: of the network.
        classes: of the network.
        suffixes: of the files that the network takes.
        images: folder of the files, of COCO, VOC, lists and label maps.
        split: part of a data set in the form of VOC or CamVid.
        numbering: of label maps.

    Raises:
        InputError: nothing of that is there, or it is damaged; also if a file is missing, a label
            names no class, or an option does not fit.
    """
    form = _RECOGNISE[task](path) if images is None or task != SEGMENTATION else _maps(path)
    for option, value, fitting in (
        ("--images", images, (LIST, COCO, VOC, MAPS, VOC_MAPS)),
        ("--split", split, (VOC, SPLIT_MAPS, VOC_MAPS)),
    ):
        if value is not None and form not in fitting:
            raise InputError(
                f"{option} is for {' and '.join(fitting)}, this is {form}",
                where=str(path),
                fix=f"leave {option} out",
            )
    try:
        if task == SEGMENTATION:
            numbers = numbering or Numbering()
            samples, notices = _read_maps(form, path, suffixes, images, split, numbers)
        else:
            samples, notices = _read(form, path, classes, suffixes, images, split)
    except OSError as error:
        raise InputError(
            f"the data set cannot be read: {error.strerror or type(error).__name__}",
            where=str(path),
            fix="give one that may be read",
        ) from error
    return LabelledData(
        path, form, tuple(samples), len(samples), digest_of(samples), tuple(notices)
    )


def _read(
    form: str,
    path: Path,
    classes: Classes,
    suffixes: Sequence[str],
    images: Path | None,
    split: str | None,
) -> tuple[list[LabelledSample], list[str]]:
    if form == FOLDERS:
        return read_class_folders(path, classes, suffixes)
    if form == LIST:
        return read_class_list(path, classes, suffixes, images)
    if form == COCO:
        return read_coco(path, classes, images)
    if form == VOC:
        return read_voc(path, classes, suffixes, images, split)
    return read_gen1(path, classes, suffixes)


def _read_maps(
    form: str,
    path: Path,
    suffixes: Sequence[str],
    images: Path | None,
    split: str | None,
    numbering: Numbering,
) -> tuple[list[LabelledSample], list[str]]:
    if form == VOC_MAPS:
        return read_masks(path, suffixes, numbering, images, split)
    if form == SPLIT_MAPS:
        return read_split_folders(path, suffixes, numbering, split)
    if form == PAIRS:
        return read_pairs(path, numbering)
    assert images is not None
    return read_two_folders(path, suffixes, numbering, images)


def _classification(path: Path) -> str:
    if path.is_dir():
        return FOLDERS
    if path.is_file() and path.suffix.lower() in LISTS:
        return LIST
    raise _unknown(path, "a folder with a folder of files for every class, or a list file,label")


def _detection(path: Path) -> str:
    if path.is_file() and path.suffix.lower() == ".json":
        return COCO
    if (path / ANNOTATIONS).is_dir():
        return VOC
    if path.is_dir() and any(path.glob(f"*{LABELS}")):
        return GEN1
    raise _unknown(
        path,
        f"COCO annotations (*.json), a folder with {ANNOTATIONS} and {PICTURES} (PASCAL VOC), or a "
        f"folder of recordings with *{LABELS} (Gen1)",
    )


def _maps(path: Path) -> str:
    """Label maps whose pictures lie in a folder that the user names."""
    if (path / MASKS).is_dir():
        return VOC_MAPS
    if path.is_dir():
        return MAPS
    raise _unknown(path, "a folder of label maps (*.png)")


def _segmentation(path: Path) -> str:
    if (path / MASKS).is_dir():
        return VOC_MAPS
    if path.is_dir() and split_folders(path):
        return SPLIT_MAPS
    if path.is_dir() and has_pairs(path):
        return PAIRS
    raise _unknown(
        path,
        f"a folder with {MASKS} and {PICTURES} (PASCAL VOC), with test and testannot (CamVid), "
        "with *_img.png and *_masks.png (Cellpose), or one of label maps and that of their "
        "pictures (--images)",
    )


def _unknown(path: Path, wanted: str) -> InputError:
    what = "this is no data set for the network" if path.exists() else "there is no such data set"
    return InputError(f"{what}; looked for {wanted}", where=str(path), fix="name one of these")


_RECOGNISE = {
    CLASSIFICATION: _classification,
    DETECTION: _detection,
    SEGMENTATION: _segmentation,
}
