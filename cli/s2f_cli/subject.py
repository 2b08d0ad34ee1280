"""What a command works on: an artefact, and pictures or recordings for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import s2f_deploy
from s2f_cli.bundled import BUNDLED, DEFAULT, sample_for
from s2f_cli.pipeline import Upstream, read_upstream
from s2f_cli.report import Report
from s2f_deploy import Graph
from s2f_deploy.errors import ArtefactError, InputError
from s2f_sim.answer import CLASSIFICATION, SEGMENTATION, TASKS, class_count
from s2f_sim.centre_crop import CentreCrop
from s2f_sim.preparation import Preparation, read_preparation
from s2f_sim.sample import Sample
from s2f_sim.segmented import Colour, read_palette


@dataclass(frozen=True, eq=False, slots=True)
class Subject:
    """A loaded artefact and what it is run on.

    Attributes:
        artefact: where the network lies.
        graph: the network.
        task: one of ``TASKS``.
        preparation: how files become what the network takes.
        classes: names of its classes, if it has names.
        palette: their colours, of a network that tells the class of every pixel, if it has any.
        samples: read and prepared.
        at_us: end of the window seen of recordings, microseconds, if one was chosen.
    """

    artefact: Path
    graph: Graph
    task: str
    preparation: Preparation
    classes: list[str] | None
    palette: tuple[Colour, ...] | None
    samples: tuple[Sample, ...] = ()
    at_us: int | None = None

    def hand_on(self, report: Report) -> None:
        """Close a report that succeeded with what the next command of a pipeline needs."""
        hand_on(report, Upstream(self.artefact, None, self.at_us), [s.path for s in self.samples])


def load_subject(
    report: Report, model: Path | None, paths: Sequence[Path], at_us: int | None = None
) -> Subject:
    """Find and read what the user named, or what a pipeline hands on, or the bundled example.

    Raises:
        ArtefactError: no artefact, several to choose from, or a damaged one.
        InputError: a picture or recording that cannot be read.
    """
    chosen = choose_artefact(report, model)
    subject = _load(chosen.artefact)
    at_us = chosen.at_us if at_us is None and not paths else at_us
    named = list(paths) or [chosen.image or _default_sample(subject)]
    samples = tuple(subject.preparation.read(path, at_us) for path in named)
    return replace(subject, samples=samples, at_us=at_us)


def load_artefact(report: Report, model: Path | None) -> Subject:
    """As ``load_subject``, without any sample.

    Raises:
        ArtefactError: no artefact, several to choose from, or a damaged one.
    """
    return _load(choose_artefact(report, model).artefact)


def _load(artefact: Path) -> Subject:
    graph = s2f_deploy.load(artefact)
    task = graph.metadata.get("task", CLASSIFICATION)
    if task not in TASKS:
        raise ArtefactError(
            f"the network is for a task that is none of {', '.join(TASKS)}",
            where=str(artefact),
            fix="export it again from its checkpoint",
        )
    classes = check_classes(graph.metadata.get("classes"), graph, task, artefact)
    return Subject(
        artefact,
        graph,
        task,
        preparation_of(graph, artefact),
        classes,
        _palette(graph, task, artefact),
    )


def _palette(graph: Graph, task: str, artefact: Path) -> tuple[Colour, ...] | None:
    if task != SEGMENTATION:
        return None
    count = class_count(task, next(graph.select("output")).output.shape)
    return read_palette(graph.metadata.get("palette"), count, where=str(artefact))


def _default_sample(subject: Subject) -> Path:
    """What comes with a bundled network; of any other that takes photographs, ours."""
    sample = sample_for(subject.artefact)
    if sample is None and DEFAULT.sample.suffix in subject.preparation.suffixes:
        sample = DEFAULT.sample
    if sample is None:
        raise InputError(
            "this network takes recordings of an event camera",
            where=str(subject.artefact),
            fix=f"name one: a {', '.join(subject.preparation.suffixes)} file",
        )
    return sample


def choose_artefact(report: Report, model: Path | None) -> Upstream:
    """What the user named, or what a pipeline hands on, or the default artefact.

    Raises:
        ArtefactError: there are several to choose from.
        S2FError: the command before this one ended without an artefact.
    """
    upstream = read_upstream(report.line) if model is None else None
    if upstream is None:
        return Upstream(_named(model) if model else default_artefact(Path.cwd()), None)
    report.begin()
    return upstream


def _named(model: Path) -> Path:
    """A file, or a bundled network by its name."""
    bundled = BUNDLED.get(str(model))
    return bundled.artefact if bundled and not model.exists() else model


def hand_on(report: Report, subject: Upstream, samples: Sequence[Path]) -> None:
    """Say what the next command of a pipeline goes on with."""
    report.line(f"artefact: {subject.artefact}")
    for sample in samples:
        report.line(f"image: {sample}")
    if subject.at_us is not None:
        report.line(f"at: {subject.at_us} us")


def preparation_of(graph: Graph, artefact: Path) -> Preparation:
    """How files are prepared for a network; ImageNet's way where the artefact does not say."""
    stored: Any = graph.metadata.get("preprocessing")
    if stored is not None:
        return read_preparation(stored, where=str(artefact))
    return CentreCrop.imagenet(next(graph.select("input")).output.shape[-1])


def check_classes(names: object, graph: Graph, task: str, where: Path) -> list[str] | None:
    """Names of the network's classes, if it has names.

    Raises:
        InputError: they are no list of texts, or not one for each class.
    """
    if names is None:
        return None
    count = class_count(task, next(graph.select("output")).output.shape)
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
    return found[0] if found else DEFAULT.artefact
