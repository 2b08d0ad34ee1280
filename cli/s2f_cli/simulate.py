"""``s2f simulate``: a picture or a recording, answered by spikes."""

import json
from pathlib import Path
from typing import Any

import click

from s2f_cli import options
from s2f_cli.report import Report, write_file
from s2f_cli.subject import Subject, load_subject
from s2f_deploy.errors import ArtefactError
from s2f_sim import Run
from s2f_sim.answer import Answer, Found, answer
from s2f_sim.atomic_file import replace_file
from s2f_sim.sample import Sample
from s2f_sim.simulator import EngineName, simulate


@click.command()
@click.argument("files", type=options.FILE, nargs=-1, metavar="[MODEL] [FILE]")
@options.model
@options.at
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1),
    default=0.25,
    show_default=True,
    help="Of detectors: least score of a box.",
)
@options.timesteps
@options.engine
@options.threads
@click.option(
    "--out", type=options.FILE, help="Directory of what is drawn and found. Default: here."
)
@click.option("--no-pictures", is_flag=True, help="Draw nothing, write no boxes.")
@options.json
def command(
    files: tuple[Path, ...],
    model: Path | None,
    at_us: int | None,
    confidence: float,
    timesteps: int | None,
    engine: EngineName,
    threads: int | None,
    out: Path | None,
    no_pictures: bool,
    json_path: Path | None,
) -> None:
    """Classify FILE, or its pixels, or find the objects in it, by spikes.

    FILE is a picture or a recording of an event camera, MODEL an artefact (*.s2f). Default: what
    is bundled with the network.
    """
    report = Report(f"simulate {' '.join(map(str, files))}".rstrip(), json_path)
    model, paths = options.split(files, model, most=1)
    subject = load_subject(report, model, paths, at_us)
    (sample,) = subject.samples
    with report.progress("simulating"):
        run = simulate(subject.graph, sample.x, timesteps, engine, threads)
    found = answer(run.outputs, sample, subject.task, subject.classes, confidence, subject.palette)
    totals = _totals(run)
    _print(report, run, found, totals)
    written: dict[str, Path] = {}
    if not no_pictures:
        written = _write(subject, sample, run, found, out or Path())
        for kind, path in written.items():
            report.line(f"{'boxes' if kind == 'boxes' else 'picture'}: {path}")
    document = {
        "artefact": str(subject.artefact),
        "image": str(sample.path),
        "task": subject.task,
        "output": next(iter(run.outputs)),
        **found.to_dict(),
        "timesteps": run.timesteps,
        "levels": run.levels,
        "exact": run.exact,
        "windows": run.windows,
        "latency_timesteps": run.latency_timesteps,
        "engine": run.engine,
        "seconds": run.seconds,
        "total": totals,
        "layers": [layer_document(layer) for layer in run.layers],
        "pictures": {key: str(path) for key, path in written.items()},
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


def _print(report: Report, run: Run, found: Answer, totals: dict[str, int]) -> None:
    if rows := found.rows():
        report.table(found.columns, rows)
    if summary := found.summary():
        report.line(summary)
    host = f" and {totals['host_mac']:,} on the host" if totals["host_mac"] else ""
    report.line(
        f"{totals['spikes']:,} spikes, {totals['ac']:,} accumulations (AC), "
        f"{totals['mac']:,} multiplications (MAC, first layer and read-outs){host}; "
        f"the dense network multiplies {totals['dense_mac']:,} times"
    )
    report.line(
        f"{exactness(run)}; {run.windows} windows, {run.latency_timesteps} timesteps latency; "
        f"{run.engine} engine, {run.seconds:.2f} s"
    )


def _write(
    subject: Subject, sample: Sample, run: Run, found: Answer, folder: Path
) -> dict[str, Path]:
    # Drawing takes as long to import as the bundled network takes to run.
    from s2f_sim.answer_pictures import draw_answer  # noqa: PLC0415

    totals = _totals(run)
    caption = (
        f"{totals['spikes']:,} spikes   {totals['ac']:,} AC   "
        f"{totals['mac']:,} MAC   {exactness(run)}"
    )
    title = f"{subject.graph.name}, by binary spikes"
    written: dict[str, Path] = {}
    try:
        for kind, content in draw_answer(subject.graph, run, sample, found, title, caption):
            suffix = "s2f" if kind == "answer" else kind
            written[kind] = folder / f"{sample.path.stem}.{suffix}.png"
            replace_file(written[kind], content)
    except OSError as error:
        raise ArtefactError(
            f"cannot write the picture: {error.strerror}",
            where=str(folder),
            fix="choose a directory that exists and may be written with --out",
        ) from error
    if isinstance(found, Found):
        written["boxes"] = folder / f"{sample.path.stem}.boxes.json"
        write_file(written["boxes"], json.dumps(found.results(), indent=1) + "\n", "boxes")
    return written
