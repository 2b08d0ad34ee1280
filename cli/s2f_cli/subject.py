"""What a command works on: an artefact and photographs for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import s2f_deploy
from s2f_cli.pipeline import Upstream, read_upstream
from s2f_cli.report import Report
from s2f_deploy import Graph
from s2f_deploy.errors import ArtefactError, InputError
from s2f_sim.photograph import read_image
from s2f_sim.preprocess import Preprocessing, prepare

BUNDLED = files("s2f_cli") / "bundled"
BUNDLED_MODEL = Path(str(BUNDLED / "e_spikeformer_cifar10.s2f"))
BUNDLED_PHOTOGRAPH = Path(str(BUNDLED / "cat.jpg"))


@dataclass(frozen=True, eq=False, slots=True)
class Photograph:
    """One picture, as it is and as the network takes it, float32[1, 3, H, W]."""

    path: Path
    picture: Image.Image
    x: NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Subject:
    """A loaded artefact and the photographs to run it on."""

    artefact: Path
    graph: Graph
    preprocessing: Preprocessing
    classes: list[str] | None
    photographs: tuple[Photograph, ...]

    def hand_on(self, report: Report) -> None:
        """Close a report that succeeded with what the next command of a pipeline needs."""
        hand_on(report, self.artefact, [photograph.path for photograph in self.photographs])


def load_subject(report: Report, model: Path | None, images: Sequence[Path]) -> Subject:
    """Find and read what the user named, or what a pipeline hands on, or the bundled example.

    Raises:
        ArtefactError: no artefact, several to choose from, or a damaged one.
        InputError: an image that cannot be read.
    """
    chosen = choose_artefact(report, model)
    artefact = chosen.artefact
    graph = s2f_deploy.load(artefact)
    preprocessing = preprocessing_of(graph, artefact)
    classes = check_classes(graph.metadata.get("classes"), graph, artefact)
    photographs = []
    for path in images or [chosen.image or BUNDLED_PHOTOGRAPH]:
        picture = read_image(path)
        photographs.append(Photograph(path, picture, prepare(picture, preprocessing)))
    return Subject(artefact, graph, preprocessing, classes, tuple(photographs))


def choose_artefact(report: Report, model: Path | None) -> Upstream:
    """What the user named, or what a pipeline hands on, or the default artefact.

    Raises:
        ArtefactError: there are several to choose from.
        S2FError: the command before this one ended without an artefact.
    """
    upstream = read_upstream(report.line) if model is None else None
    if upstream is None:
        return Upstream(model or default_artefact(Path.cwd()), None)
    report.begin()
    return upstream


def hand_on(report: Report, artefact: Path, images: Sequence[Path]) -> None:
    """Say what the next command of a pipeline goes on with."""
    report.line(f"artefact: {artefact}")
    for image in images:
        report.line(f"image: {image}")


def preprocessing_of(graph: Graph, artefact: Path) -> Preprocessing:
    """How images are prepared for a network; ImageNet's way where the artefact does not say."""
    stored: Any = graph.metadata.get("preprocessing")
    if stored is not None:
        return Preprocessing.from_dict(stored, where=str(artefact))
    return Preprocessing.imagenet(next(graph.select("input")).output.shape[-1])


def check_classes(names: object, graph: Graph, where: Path) -> list[str] | None:
    """Names of the network's outputs, if it has names.

    Raises:
        InputError: they are no list of texts, or not one for each output.
    """
    if names is None:
        return None
    count = math.prod(next(graph.select("output")).output.shape)
    listed = names if isinstance(names, list) else []
    texts = [name for name in listed if isinstance(name, str)]
    if not len(texts) == len(listed) == count:
        raise InputError(
            f"the class names are no list of {count} texts, one for each output",
            where=str(where),
            fix='name every output with --classes of s2f export, as in ["cat", "dog"]',
        )
    return texts


def default_artefact(folder: Path) -> Path:
    """The only artefact of a folder, else the bundled one.

    Raises:
        ArtefactError: there are several.
    """
    found = sorted(folder.glob("*.s2f"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ArtefactError(
            f"there are {len(found)} artefacts here: {names}",
            where=str(folder),
            fix="choose one with --model",
        )
    return found[0] if found else BUNDLED_MODEL
