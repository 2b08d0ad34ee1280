"""``s2f export``: a checkpoint becomes an artefact."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
from numpy.typing import NDArray

import s2f_deploy
from s2f_cli import options
from s2f_cli.report import Report
from s2f_cli.subject import check_classes
from s2f_deploy import Graph
from s2f_deploy.errors import InputError
from s2f_deploy.frontend.import_onnx import read_model
from s2f_deploy.passes.pipeline import Arithmetic
from s2f_sim.dataset import ImageSamples, evenly, image_files
from s2f_sim.preprocess import Preprocessing, prepare_pictures

DEFAULT_SIDE = 224
CALIBRATION_IMAGES = 32
WEIGHTS = click.Choice(["float32", "int16", "int8"])


@dataclass(frozen=True, eq=False, slots=True)
class Source:
    """What is exported: a float network and what is known about it."""

    name: str
    onnx: bytes
    metadata: Mapping[str, Any]
    preprocessing: Mapping[str, Any] | None
    pictures: NDArray[np.uint8] | None = None


@click.command()
@click.argument("checkpoint", type=options.FILE)
@click.option("--out", "-o", type=options.FILE, help="Default: <checkpoint>.s2f here.")
@click.option(
    "--weights",
    type=WEIGHTS,
    help="As trained, or integers: exact on every machine.  [default: float32]",
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="PATTERN=int16",
    help="Integer weights of another width for the layers of that name; may be repeated.",
)
@click.option(
    "--calibrate",
    type=options.FILE,
    help="Folder of images to choose integer weights by. Default: the checkpoint's own, if any.",
)
@click.option("--arch", help="Network, where the shapes leave a choice: see s2f models.")
@click.option("--levels", type=click.IntRange(1, 255), metavar="D", help="Largest count, D.")
@click.option("--size", type=click.IntRange(16, 4096), help="Side of the input image in pixels.")
@click.option("--resize", type=click.IntRange(16, 4096), help="Short side before cropping.")
@click.option("--classes", type=options.FILE, help="Class names: one a line, or a JSON list.")
@options.json
def command(
    checkpoint: Path,
    out: Path | None,
    weights: Arithmetic | None,
    layers: tuple[str, ...],
    calibrate: Path | None,
    arch: str | None,
    levels: int | None,
    size: int | None,
    resize: int | None,
    classes: Path | None,
    json_path: Path | None,
) -> None:
    """Turn a checkpoint of the official code, an ONNX file or an artefact into an artefact."""
    arithmetic: Arithmetic = weights or "float32"
    if checkpoint.suffix in (".onnx", ".s2f") and any((arch, levels, size)):
        raise click.UsageError("this file fixes what --arch, --levels and --size would say")
    if arithmetic == "float32" and (layers or calibrate):
        raise click.UsageError("--layer and --calibrate are for --weights int8 or int16")
    overrides = [_override(text) for text in layers]
    report = Report(f"export {checkpoint}", json_path)
    names = read_classes(classes) if classes else None
    with report.progress("exporting"):
        source = _read(checkpoint, arch, levels, size)
        preprocessing = _preprocessing(source, resize)
        images = None
        if arithmetic != "float32":
            images = _calibration(source, calibrate, preprocessing)
        graph = s2f_deploy.lower_content(
            source.onnx, source.name, arithmetic, calibration=images, layers=overrides
        )
    metadata = {**source.metadata, **graph.metadata, "arithmetic": arithmetic}
    for notice in metadata["notices"]:
        report.notice(notice)
    if arithmetic != "float32" and images is None:
        report.notice("no images to choose the integer weights by: name a folder with --calibrate")
    if classes:
        metadata["classes"] = check_classes(names, graph, classes)
    metadata["preprocessing"] = preprocessing.to_dict()
    graph = replace(graph, metadata=metadata, calibration=source.pictures)
    target = out or Path(f"{checkpoint.stem}.s2f")
    s2f_deploy.save(graph, target)
    summary = summarise(graph, target)
    _print(report, summary, metadata)
    report.json("export", summary | {"metadata": metadata})


def _override(text: str) -> tuple[str, Arithmetic]:
    pattern, _, kind = text.rpartition("=")
    if not pattern or kind not in ("int8", "int16"):
        raise click.UsageError(f"--layer {text} is not of the form PATTERN=int8 or PATTERN=int16")
    return pattern, cast("Arithmetic", kind)


def _read(path: Path, arch: str | None, levels: int | None, size: int | None) -> Source:
    """A float network from any of the files that hold one."""
    if path.suffix == ".onnx":
        name = "".join(path.stem.split()) or "network"
        origin = {"task": "classification", "source": {"file": path.name}, "notices": []}
        return Source(name, read_model(path), origin, None)
    if path.suffix == ".s2f":
        graph = s2f_deploy.load(path)
        metadata = {k: v for k, v in graph.metadata.items() if k != "quantisation"}
        metadata.setdefault("notices", [])
        stored = metadata.get("preprocessing")
        return Source(graph.name, graph.reference, metadata, stored, graph.calibration)
    with tempfile.TemporaryDirectory() as folder:
        return _export(path, Path(folder) / "network.onnx", arch, levels, size)


def _export(
    checkpoint: Path, onnx: Path, arch: str | None, levels: int | None, size: int | None
) -> Source:
    import s2f_models  # noqa: PLC0415 (torch takes seconds, and ONNX files need none)

    model, info = s2f_models.load_checkpoint(checkpoint, arch=arch, D=levels)
    if info.config.task != "classification":
        raise InputError(
            f"{info.arch} is a network for {info.config.task}, and the commands classify only",
            where=str(checkpoint),
            fix="from Python: s2f_models.load_checkpoint, s2f_deploy.export_onnx, s2f_deploy.lower",
        )
    stored: dict[str, Any] = dict(info.preprocessing or {})
    if stored:
        stored = Preprocessing.from_dict(stored, where=str(checkpoint)).to_dict()
    side = int(size or stored.get("crop", DEFAULT_SIDE))
    s2f_deploy.export_onnx(model.float(), (1, info.config.in_channels, side, side), onnx)
    metadata = {
        "task": "classification",
        "source": {"file": checkpoint.name, "sha256": info.sha256},
        "arch": info.arch,
        "notices": list(info.notices),
        **({"classes": list(info.classes)} if info.classes else {}),
    }
    known = Preprocessing.imagenet(side).to_dict() if size or not stored else stored
    name = "".join(checkpoint.stem.split()) or "network"
    return Source(name, onnx.read_bytes(), metadata, known, info.calibration)


def _preprocessing(source: Source, resize: int | None) -> Preprocessing:
    # Reading a large network takes seconds: only where nothing else says the side.
    known = source.preprocessing or Preprocessing.imagenet(_side(source.onnx)).to_dict()
    chosen = dict(known) | ({"resize": resize} if resize else {})
    return Preprocessing.from_dict(chosen, where="--resize")


def _side(content: bytes) -> int:
    """Width of the image a network takes."""
    from s2f_deploy.frontend.import_onnx import import_onnx  # noqa: PLC0415

    return int(next(import_onnx(content, "network").select("input")).output.shape[-1])


def _calibration(
    source: Source, folder: Path | None, preprocessing: Preprocessing
) -> NDArray[np.float32] | None:
    """Images as the network takes them, float32[N, 3, H, W], if there are any."""
    if folder is not None:
        files = evenly(image_files(folder), CALIBRATION_IMAGES)
        return np.concatenate(list(ImageSamples(files, preprocessing)))
    if source.pictures is not None:
        return prepare_pictures(source.pictures, preprocessing)
    return None


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


def _print(report: Report, summary: dict[str, Any], metadata: dict[str, Any]) -> None:
    report.line(
        f"{summary['neuron_layers']} neuron layers ({summary['neurons']:,} neurons, D = "
        f"{summary['levels']}), {summary['synaptic_layers']} synaptic layers "
        f"({summary['weights']:,} weights), {summary['attention_layers']} attentions"
    )
    report.line(
        f"input {'x'.join(map(str, summary['input']))}; {summary['windows']} windows; "
        f"{metadata['arithmetic']} weights; {summary['bytes'] / 1e6:.2f} MB"
    )
    cost = metadata.get("quantisation")
    if cost and cost["calibration_images"]:
        share = cost["counts_changed"] / cost["neurons"]
        report.line(
            f"integer weights changed {share:.1%} of the counts on {cost['calibration_images']} "
            "calibration images; s2f verify shows what that does to the answers"
        )
    report.line(f"artefact: {summary['artefact']}")
