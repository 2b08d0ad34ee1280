"""``s2f simulate``: a photograph, answered by spikes."""

from pathlib import Path
from typing import Any

import click

from s2f_cli import options
from s2f_cli.report import Report
from s2f_cli.subject import Photograph, Subject, load_subject
from s2f_deploy.errors import ArtefactError
from s2f_sim import Run
from s2f_sim.annotate import annotate
from s2f_sim.atomic_file import replace_file
from s2f_sim.prediction import ClassScore, top_classes
from s2f_sim.preprocess import seen_part
from s2f_sim.raster import draw_raster
from s2f_sim.simulator import EngineName, simulate


@click.command()
@click.argument("image", type=options.FILE, required=False)
@options.model
@options.timesteps
@options.engine
@options.threads
@click.option("--out", type=options.FILE, help="Directory of the pictures. Default: here.")
@click.option("--no-pictures", is_flag=True, help="Draw nothing.")
@options.json
def command(
    image: Path | None,
    model: Path | None,
    timesteps: int | None,
    engine: EngineName,
    threads: int | None,
    out: Path | None,
    no_pictures: bool,
    json_path: Path | None,
) -> None:
    """Classify IMAGE (default: the bundled photograph) by spikes."""
    report = Report(f"simulate {image or ''}".rstrip(), json_path)
    subject = load_subject(report, model, [image] if image else [])
    (photograph,) = subject.photographs
    with report.progress("simulating"):
        run = simulate(subject.graph, photograph.x, timesteps, engine, threads)
    name, logits = next(iter(run.outputs.items()))
    scores = top_classes(logits, subject.classes)
    totals = _totals(run)
    _print(report, run, scores, totals)
    pictures = {}
    if not no_pictures:
        pictures = _draw(subject, photograph, run, scores, out or Path())
        for path in pictures.values():
            report.line(f"picture: {path}")
    document = {
        "artefact": str(subject.artefact),
        "image": str(photograph.path),
        "output": name,
        "prediction": [
            {"class": s.index, "label": s.label, "logit": s.logit, "probability": s.probability}
            for s in scores
        ],
        "timesteps": run.timesteps,
        "levels": run.levels,
        "exact": run.exact,
        "windows": run.windows,
        "latency_timesteps": run.latency_timesteps,
        "engine": run.engine,
        "seconds": run.seconds,
        "total": totals,
        "layers": [layer_document(layer) for layer in run.layers],
        "pictures": {key: str(path) for key, path in pictures.items()},
    }
    report.json("simulate", document)
    subject.hand_on(report)


def layer_document(layer: Any) -> dict[str, Any]:
    """One layer's counts as JSON."""
    return {
        "name": layer.name,
        "kind": layer.kind,
        "shape": list(layer.shape),
        "spikes": layer.spikes,
        "spikes_by_timestep": list(layer.spikes_by_timestep),
        "ac": layer.ac,
        "ac_by_timestep": list(layer.ac_by_timestep),
        "ac_meanfield": layer.ac_meanfield,
        "mac": layer.mac,
        "dense_mac": layer.dense_mac,
        "padded_mac": layer.padded_mac,
        "mean_activation": layer.mean_activation,
        "neuron_updates": layer.neuron_updates,
        "membrane_adds": layer.membrane_adds,
    }


def _totals(run: Run) -> dict[str, int]:
    return {
        "spikes": sum(layer.spikes for layer in run.layers if layer.kind == "neuron"),
        "ac": sum(layer.ac for layer in run.layers),
        "mac": sum(layer.mac for layer in run.layers if layer.kind != "host"),
        "host_mac": sum(layer.mac for layer in run.layers if layer.kind == "host"),
        "dense_mac": sum(layer.dense_mac for layer in run.layers),
    }


def exactness(run: Run) -> str:
    """Whether the answer is the network's or a rougher one, in words."""
    if run.exact:
        return f"{run.timesteps} timesteps: exact (K >= D = {run.levels})"
    return f"{run.timesteps} timesteps of {run.levels}: a rougher, cheaper answer (K < D)"


def _print(
    report: Report, run: Run, scores: tuple[ClassScore, ...], totals: dict[str, int]
) -> None:
    rows = [[s.label, f"{s.probability:.1%}", f"{s.logit:.3f}"] for s in scores]
    report.table({"class": "left", "softmax": "right", "logit": "right"}, rows)
    report.line(
        f"{totals['spikes']:,} spikes, {totals['ac']:,} accumulations (AC), "
        f"{totals['mac']:,} multiplications (MAC, first layer and read-outs); "
        f"the dense network multiplies {totals['dense_mac']:,} times"
    )
    report.line(
        f"{exactness(run)}; {run.windows} windows, {run.latency_timesteps} timesteps latency; "
        f"{run.engine} engine, {run.seconds:.2f} s"
    )


def _draw(
    subject: Subject,
    photograph: Photograph,
    run: Run,
    scores: tuple[ClassScore, ...],
    folder: Path,
) -> dict[str, Path]:
    totals = _totals(run)
    stem = photograph.path.stem
    contents = {
        "answer": (
            folder / f"{stem}.s2f.png",
            annotate(
                photograph.picture,
                scores,
                title=f"{subject.graph.name}, by binary spikes",
                caption=f"{totals['spikes']:,} spikes   {totals['ac']:,} AC   "
                f"{totals['mac']:,} MAC   {exactness(run)}",
                seen=seen_part(photograph.picture, subject.preprocessing),
            ),
        ),
        "spikes": (folder / f"{stem}.spikes.png", draw_raster(subject.graph, run)),
    }
    try:
        for path, content in contents.values():
            replace_file(path, content)
    except OSError as error:
        raise ArtefactError(
            f"cannot write the picture: {error.strerror}",
            where=str(folder),
            fix="choose a directory that exists and may be written with --out",
        ) from error
    return {key: path for key, (path, _) in contents.items()}
