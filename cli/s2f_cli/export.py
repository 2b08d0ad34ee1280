"""``s2f export``: a checkpoint becomes an artefact."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import s2f_deploy
from s2f_cli import options
from s2f_cli.report import Report
from s2f_cli.subject import check_classes
from s2f_deploy import Graph
from s2f_deploy.errors import InputError
from s2f_sim.preprocess import Preprocessing

DEFAULT_SIDE = 224


@click.command()
@click.argument("checkpoint", type=options.FILE)
@click.option("--out", "-o", type=options.FILE, help="Default: <checkpoint>.s2f here.")
@click.option("--arch", help="Network, where the shapes leave a choice: see s2f models.")
@click.option("--levels", type=click.IntRange(1, 255), metavar="D", help="Largest count, D.")
@click.option("--size", type=click.IntRange(16, 4096), help="Side of the input image in pixels.")
@click.option("--resize", type=click.IntRange(16, 4096), help="Short side before cropping.")
@click.option("--classes", type=options.FILE, help="Class names: one a line, or a JSON list.")
@options.json
def command(
    checkpoint: Path,
    out: Path | None,
    arch: str | None,
    levels: int | None,
    size: int | None,
    resize: int | None,
    classes: Path | None,
    json_path: Path | None,
) -> None:
    """Turn a checkpoint of the official code, or an ONNX file, into CHECKPOINT's artefact."""
    if checkpoint.suffix == ".onnx" and any((arch, levels, size)):
        raise click.UsageError("an ONNX file fixes what --arch, --levels and --size would say")
    report = Report(f"export {checkpoint}", json_path)
    names = read_classes(classes) if classes else None
    with report.progress("exporting"), tempfile.TemporaryDirectory() as folder:
        if checkpoint.suffix == ".onnx":
            graph, metadata = s2f_deploy.lower(checkpoint), _metadata_of_onnx(checkpoint)
        else:
            onnx = Path(folder) / f"{checkpoint.stem}.onnx"
            metadata = _export(checkpoint, onnx, arch, levels, size)
            graph = s2f_deploy.lower(onnx)
    for notice in metadata["notices"]:
        report.notice(notice)
    if classes:
        metadata["classes"] = check_classes(names, graph, classes)
    side = next(graph.select("input")).output.shape[-1]
    preprocessing = metadata.get("preprocessing") or Preprocessing.imagenet(side).to_dict()
    preprocessing |= {"resize": resize} if resize else {}
    checked = Preprocessing.from_dict(preprocessing, where="--resize")
    metadata["preprocessing"] = checked.to_dict()
    graph = replace(graph, metadata=metadata)
    target = out or Path(f"{checkpoint.stem}.s2f")
    s2f_deploy.save(graph, target)
    summary = summarise(graph, target)
    _print(report, summary)
    report.json("export", summary | {"metadata": metadata})


def _export(
    checkpoint: Path, onnx: Path, arch: str | None, levels: int | None, size: int | None
) -> dict[str, Any]:
    import s2f_models  # noqa: PLC0415 (torch takes seconds, and ONNX files need none)

    model, info = s2f_models.load_checkpoint(checkpoint, arch=arch, D=levels)
    stored: dict[str, Any] = dict(info.preprocessing or {})
    if stored:
        stored = Preprocessing.from_dict(stored, where=str(checkpoint)).to_dict()
    side = int(size or stored.get("crop", DEFAULT_SIDE))
    s2f_deploy.export_onnx(model.float(), (1, info.config.in_channels, side, side), onnx)
    if size:
        stored = {}
    return {
        "task": "classification",
        "arithmetic": "float32",
        "source": {"file": checkpoint.name, "sha256": info.sha256},
        "arch": info.arch,
        "notices": list(info.notices),
        **({"classes": list(info.classes)} if info.classes else {}),
        **({"preprocessing": stored} if stored else {}),
    }


def _metadata_of_onnx(path: Path) -> dict[str, Any]:
    source = {"file": path.name}
    return {"task": "classification", "arithmetic": "float32", "source": source, "notices": []}


def read_classes(path: Path) -> list[str]:
    """Class names from a text file (one a line) or a JSON list.

    Raises:
        InputError: the file cannot be read as either.
    """
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if path.suffix == ".json" else text.split("\n")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"the class names cannot be read: {error}",
            where=str(path),
            fix="give a UTF-8 file with one name a line, or a JSON list",
        ) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            "the class names are no list of texts", where=str(path), fix='write ["cat", "dog"]'
        )
    return [name.strip() for name in names if name.strip()]


def summarise(graph: Graph, path: Path) -> dict[str, Any]:
    """What was made, in numbers."""
    neurons = list(graph.select("integrate_fire"))
    synapses = list(graph.select("event_conv2d", "event_linear"))
    weights = [array for node in synapses for array in graph.arrays(node)]
    return {
        "artefact": str(path),
        "bytes": path.stat().st_size,
        "input": list(next(graph.select("input")).output.shape),
        "synaptic_layers": len(synapses),
        "attention_layers": sum(1 for _ in graph.select("attention")),
        "neuron_layers": len(neurons),
        "neurons": sum(n.output.channels * n.output.positions for n in neurons),
        "weights": sum(array.size for array in weights),
        "levels": max((n["levels"] for n in neurons), default=0),
        "windows": max((n["window"] for n in neurons), default=0),
    }


def _print(report: Report, summary: dict[str, Any]) -> None:
    report.line(
        f"{summary['neuron_layers']} neuron layers ({summary['neurons']:,} neurons, D = "
        f"{summary['levels']}), {summary['synaptic_layers']} synaptic layers "
        f"({summary['weights']:,} weights), {summary['attention_layers']} attentions"
    )
    report.line(
        f"input {'x'.join(map(str, summary['input']))}; {summary['windows']} windows; "
        f"{summary['bytes'] / 1e6:.2f} MB"
    )
    report.line(f"artefact: {summary['artefact']}")
