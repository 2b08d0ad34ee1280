"""``s2f eval``: how good is the network on a labelled data set?"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from s2f_cli import options
from s2f_cli.eval_tables import Score, print_score, print_work
from s2f_cli.report import Report
from s2f_cli.subject import Subject, load_artefact
from s2f_deploy.errors import ArtefactError
from s2f_sim.answer import CLASSIFICATION, DETECTION, SEGMENTATION, class_count
from s2f_sim.evaluated_network import FORMS, SPIKES, Spikes, StoredOnnx
from s2f_sim.evaluation import binding_of, evaluate, mean_work
from s2f_sim.evaluation_score import score_boxes, score_classes
from s2f_sim.label_map import IGNORED, Numbering
from s2f_sim.labelled_data import LabelledData, read_labelled_data
from s2f_sim.labelled_sample import Classes
from s2f_sim.progress_log import ProgressLog
from s2f_sim.segmentation_score import score_pixels
from s2f_sim.simulator import EngineName

_JUDGES: Mapping[str, Callable[..., Score]] = {
    CLASSIFICATION: score_classes,
    DETECTION: score_boxes,
    SEGMENTATION: score_pixels,
}


@click.command()
@click.argument("files", type=options.FILE, nargs=-1, metavar="[MODEL]")
@options.model
@click.option(
    "--dataset",
    type=options.FILE,
    required=True,
    help="Folder of class folders, list file,label, COCO *.json, VOC, Gen1 or CamVid folder, or "
    "one of label maps, with --images.",
)
@click.option("--images", type=options.FILE, help="Folder of the pictures, if it is another one.")
@click.option(
    "--split", help="Of PASCAL VOC: a list in ImageSets, as test; of CamVid: train, val or test."
)
@click.option(
    "--ignore",
    type=click.IntRange(0, 65535),
    multiple=True,
    metavar="NUMBER",
    help=f"Of label maps: a number that is no class; may be repeated.  [default: {IGNORED}]",
)
@click.option(
    "--first-label",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="NUMBER",
    help="Of label maps: the number of the first class; as ADE20K has it, 1.  [default: 0]",
)
@click.option(
    "--samples", type=click.IntRange(1), metavar="N", help="Only N of them, evenly spaced."
)
@click.option(
    "--network",
    "form",
    type=click.Choice(FORMS),
    default=SPIKES,
    show_default=True,
    help="What is measured: spikes, or the same in ONNX Runtime: with integer weights, or float.",
)
@options.timesteps
@options.engine
@options.threads
@click.option("--log", type=options.FILE, help="Of finished samples. Default: named after both.")
@click.option("--restart", is_flag=True, help="Throw the log away and begin again.")
@options.json
def command(
    files: tuple[Path, ...],
    model: Path | None,
    dataset: Path,
    images: Path | None,
    split: str | None,
    ignore: tuple[int, ...],
    first_label: int,
    samples: int | None,
    form: str,
    timesteps: int | None,
    engine: EngineName,
    threads: int | None,
    log: Path | None,
    restart: bool,
    json_path: Path | None,
) -> None:
    """Measure a network on a labelled data set: top-1, mAP of a detector, mIoU.

    Every finished sample goes into a log: a run that was stopped goes on from there.
    """
    report = Report(f"eval {dataset}", json_path)
    model, others = options.split(files, model, most=len(files))
    if others:
        raise click.UsageError(f"{others[0]} is no artefact: name data with --dataset")
    if form != SPIKES and (timesteps or engine != "events"):
        raise click.UsageError("--timesteps and --engine are for --network spikes")
    subject = load_artefact(report, model)
    classes, suffixes = _classes(subject), subject.preparation.suffixes
    if (ignore or first_label) and subject.task != SEGMENTATION:
        raise click.UsageError("--ignore and --first-label are for label maps of segmentation")
    whole = read_labelled_data(
        dataset,
        subject.task,
        classes,
        suffixes,
        images=images,
        split=split,
        numbering=Numbering(first_label, ignore or (IGNORED,)),
    )
    data = whole.part(samples)
    for notice in data.notices:
        report.notice(notice)
    network: Spikes | StoredOnnx
    if form == SPIKES:
        network = Spikes(subject.graph, timesteps, engine, threads)
    else:
        network = StoredOnnx(subject.graph, form, threads)
    path = log or _log_path(subject, data, split, network)
    if restart:
        _discard(path)
    results = _run(report, subject, data, network, path)
    score = _JUDGES[subject.task](data.samples, results, classes)
    work, seconds = mean_work(results), math.fsum(result["seconds"] for result in results)
    print_score(report, score)
    ran = _describe(network)
    report.line(f"on {score.samples:,} of {data.whole:,} samples of {dataset}, {data.form}")
    print_work(report, work)
    report.line(f"{_in_words(network)}; {seconds / score.samples:.3f} s per sample")
    report.line(f"log: {path}")
    report.json(
        "eval",
        {
            "artefact": str(subject.artefact),
            "dataset": {
                "path": str(dataset),
                "form": data.form,
                "samples": data.whole,
                "sha256": data.digest,
            },
            "task": subject.task,
            **ran,
            **score.to_dict(),
            "per_sample": work,
            "notices": list(data.notices),
            "log": str(path),
            "seconds": seconds,
        },
    )
    subject.hand_on(report)


def _classes(subject: Subject) -> Classes:
    shape = next(subject.graph.select("output")).output.shape
    count = class_count(subject.task, shape)
    if count < 1:
        raise ArtefactError(
            f"an output of {list(shape)} holds no classes of a network for {subject.task}",
            where=str(subject.artefact),
            fix="export the network again as what it is, with --task",
        )
    return Classes(count, tuple(subject.classes) if subject.classes else None)


def _log_path(
    subject: Subject, data: LabelledData, split: str | None, network: Spikes | StoredOnnx
) -> Path:
    """In the working directory, named so that what is measured in several ways has several logs."""
    path = data.path.resolve()
    parts = [subject.artefact.stem, path.name if path.is_dir() else path.stem]
    if split:
        parts.append(split)
    if isinstance(network, Spikes):
        parts += [f"k{network.timesteps}"] if network.timesteps != network.levels else []
        parts += [network.engine] if network.engine != "events" else []
    else:
        parts.append(network.form)
    return Path(f"{'-'.join(parts)}.eval.jsonl")


def _discard(path: Path) -> None:
    """Delete a log, and nothing else."""
    if not path.exists():
        return
    try:
        header = json.loads(path.read_bytes().partition(b"\n")[0] or b"{}")
        binding = header.get("binding") if isinstance(header, dict) else None
    except (OSError, ValueError, RecursionError):
        binding = None
    # Opening it says whether it is a log, and whether somebody is writing it.
    ProgressLog(path, binding if isinstance(binding, dict) else {}).close()
    path.unlink()


def _run(
    report: Report,
    subject: Subject,
    data: LabelledData,
    network: Spikes | StoredOnnx,
    path: Path,
) -> list[dict[str, Any]]:
    binding = binding_of(network, data, subject.preparation, subject.task)
    total = len(data.samples)
    try:
        with ProgressLog(path, binding) as log:
            finished = sum(sample.key in log.results for sample in data.samples)
            if finished:
                report.notice(f"{finished:,} of {total:,} samples were finished already: {path}")
            try:
                with report.progress("evaluating", total - finished) as bar:
                    return evaluate(
                        data, subject.preparation, network, subject.task, log, bar.update
                    )
            except KeyboardInterrupt:
                report.notice(f"stopped; the same command goes on from {path}")
                raise
    except OSError as error:
        raise ArtefactError(
            f"cannot write the log: {error.strerror or error}",
            where=str(path),
            fix="choose a file that may be written with --log",
        ) from error


def _describe(network: Spikes | StoredOnnx) -> dict[str, Any]:
    if isinstance(network, Spikes):
        return {
            "network": SPIKES,
            "engine": network.engine,
            "timesteps": network.timesteps,
            "levels": network.levels,
            "exact": network.timesteps >= network.levels,
        }
    return {"network": network.form, "engine": network.runtime}


def _in_words(network: Spikes | StoredOnnx) -> str:
    if isinstance(network, StoredOnnx):
        return f"the {network.form} network in {network.runtime}"
    steps, levels = network.timesteps, network.levels
    exact = f"exact (K >= D = {levels})" if steps >= levels else "a rougher answer (K < D)"
    return f"{steps} timesteps of {levels}: {exact}; {network.engine} engine"
