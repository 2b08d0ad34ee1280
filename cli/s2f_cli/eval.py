"""``s2f eval``: how good is the network on a labelled data set?"""

import json
import math
from pathlib import Path
from typing import Any

import click

from s2f_cli import options
from s2f_cli.report import Report
from s2f_cli.subject import Subject, load_artefact
from s2f_deploy.errors import ArtefactError
from s2f_sim.answer import DETECTION
from s2f_sim.evaluated_network import FORMS, SPIKES, Spikes, StoredOnnx
from s2f_sim.evaluation import binding_of, evaluate, mean_work
from s2f_sim.evaluation_score import (
    ClassificationScore,
    DetectionScore,
    score_boxes,
    score_classes,
)
from s2f_sim.labelled_data import LabelledData, read_labelled_data
from s2f_sim.labelled_sample import Classes
from s2f_sim.progress_log import ProgressLog
from s2f_sim.simulator import EngineName

_BOX_ROWS = 4


@click.command()
@click.argument("files", type=options.FILE, nargs=-1, metavar="[MODEL]")
@options.model
@click.option(
    "--dataset",
    type=options.FILE,
    required=True,
    help="Folder of class folders, list file,label, COCO *.json, VOC folder, or Gen1 folder.",
)
@click.option("--images", type=options.FILE, help="Folder of the pictures, if it is another one.")
@click.option("--split", help="Of PASCAL VOC: a list in ImageSets/Main, as test.")
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
    samples: int | None,
    form: str,
    timesteps: int | None,
    engine: EngineName,
    threads: int | None,
    log: Path | None,
    restart: bool,
    json_path: Path | None,
) -> None:
    """Measure a network on a labelled data set: mAP of a detector, top-1 of a classifier.

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
    whole = read_labelled_data(dataset, subject.task, classes, suffixes, images=images, split=split)
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
    judge = score_boxes if subject.task == DETECTION else score_classes
    score = judge(data.samples, results, classes)
    work, seconds = mean_work(results), math.fsum(result["seconds"] for result in results)
    _print(report, score)
    ran = _describe(network)
    report.line(f"on {score.samples:,} of {data.whole:,} samples of {dataset}, {data.form}")
    _print_work(report, work)
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
    boxes = subject.task == DETECTION
    count = shape[0] - _BOX_ROWS if boxes else math.prod(shape)
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


def _print(report: Report, score: ClassificationScore | DetectionScore) -> None:
    if isinstance(score, DetectionScore):
        _print_boxes(report, score)
        return
    rows = [
        [t.label, f"{t.samples:,}", f"{t.right:,}", f"{t.right / t.samples:.1%}"]
        for t in score.classes
    ]
    report.table({"class": "left", "samples": "right", "right": "right", "share": "right"}, rows)
    top5 = "" if score.top5 is None else f", top-5 {score.top5:.2%}"
    report.line(f"top-1 {score.top1:.2%}{top5}")


def _print_boxes(report: Report, score: DetectionScore) -> None:
    rows = [
        [
            t.label,
            f"{t.objects:,}",
            f"{t.found:,}",
            f"{t.wrong:,}",
            "" if t.ap50 is None else f"{t.ap50:.2%}",
            "" if t.ap50_95 is None else f"{t.ap50_95:.2%}",
        ]
        for t in score.classes
    ]
    report.table(
        {
            "class": "left",
            "objects": "right",
            "found": "right",
            "wrong": "right",
            "AP50": "right",
            "AP50-95": "right",
        },
        rows,
    )
    report.line(
        f"mAP50 {score.map50:.2%}, mAP50-95 {score.map50_95:.2%}; found and wrong: of boxes with a "
        "score above 0.25, at an overlap of 0.5"
    )


def _print_work(report: Report, work: dict[str, float]) -> None:
    if work:
        host = f" and {work['host_mac']:,.0f} on the host" if work["host_mac"] else ""
        report.line(
            f"per sample: {work['spikes']:,.0f} spikes, {work['ac']:,.0f} accumulations (AC), "
            f"{work['mac']:,.0f} multiplications (MAC){host}; the dense network multiplies "
            f"{work['dense_mac']:,.0f} times"
        )
