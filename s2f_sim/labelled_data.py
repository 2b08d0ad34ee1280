"""Reading labelled data sets, told apart by what lies at their path."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from s2f_deploy.errors import InputError
from s2f_sim.answer import DETECTION
from s2f_sim.average_precision import Truth
from s2f_sim.class_labels import LISTS, read_class_folders, read_class_list
from s2f_sim.coco_annotations import read_coco
from s2f_sim.dataset import evenly
from s2f_sim.gen1_labels import LABELS, read_gen1
from s2f_sim.labelled_sample import Classes, LabelledSample, digest_of
from s2f_sim.voc_annotations import ANNOTATIONS, PICTURES, read_voc

FOLDERS, LIST = "a folder for every class", "a list of files and classes"
COCO, VOC, GEN1 = "COCO annotations", "PASCAL VOC annotations", "recordings with labelled boxes"


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
) -> LabelledData:
    """The samples of a data set.

    Of classification: a folder with a folder for every class, or a list of files and classes. Of
    detection: COCO annotations, a folder in the form of PASCAL VOC, or a folder of recordings with
    labelled boxes in the form of Gen1.

    Args:
        path: of the data set.
        task: of the network.
        classes: of the network.
        suffixes: of the files that the network takes.
        images: folder of the files, of COCO, VOC and lists.
        split: part of a data set in the form of VOC.

    Raises:
        InputError: nothing of that is there, or it is damaged; also if a file is missing, a label
            names no class, or an option does not fit.
    """
    recognise = _detection if task == DETECTION else _classification
    form = recognise(path)
    for option, value, fitting in (
        ("--images", images, (LIST, COCO, VOC)),
        ("--split", split, (VOC,)),
    ):
        if value is not None and form not in fitting:
            raise InputError(
                f"{option} is for {' and '.join(fitting)}, this is {form}",
                where=str(path),
                fix=f"leave {option} out",
            )
    try:
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


def _unknown(path: Path, wanted: str) -> InputError:
    what = "this is no data set for the network" if path.exists() else "there is no such data set"
    return InputError(f"{what}; looked for {wanted}", where=str(path), fix="name one of these")
