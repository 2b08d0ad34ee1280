"""``s2f export``: a checkpoint becomes an artefact."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import click
import numpy as np
from numpy.typing import NDArray

import s2f_deploy
from s2f_cli import options
from s2f_cli.float_network import FloatNetwork, Wishes, read_network
from s2f_cli.report import Report
from s2f_cli.subject import check_classes
from s2f_deploy import Graph
from s2f_deploy.errors import InputError
from s2f_deploy.passes.merge_convolutions import Chains
from s2f_deploy.passes.pipeline import Arithmetic
from s2f_sim.answer import TASKS
from s2f_sim.dataset import Samples, evenly, sample_files
from s2f_sim.preparation import prepare_pictures, write_preparation

CALIBRATION_SAMPLES = 32
WEIGHTS = click.Choice(["float32", "int16", "int8"])
_LEAST_SIDE, _LARGEST_SIDE = 16, 4096


class Size(click.ParamType[tuple[int, int]]):
    """A side in pixels, or ``HEIGHTxWIDTH``."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """Height and width."""
        sides = str(value).split("x")
        numbers = [int(side) for side in sides if side.isdecimal() and len(side) < 6]  # noqa: PLR2004
        fits = all(_LEAST_SIDE <= side <= _LARGEST_SIDE for side in numbers)
        if not (len(numbers) == len(sides) <= 2 and fits):  # noqa: PLR2004 (a plane)
            self.fail(
                f"{value!r} is no side such as 224, or height and width as 480x640", param, ctx
            )
        return numbers[0], numbers[-1]


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
    help="Folder of pictures or recordings to choose integer weights by. Default: the "
    "checkpoint's own pictures, if any.",
)
@click.option("--arch", help="Network, where the shapes leave a choice: see s2f models.")
@click.option("--levels", type=click.IntRange(1, 255), metavar="D", help="Largest count, D.")
@click.option(
    "--steps",
    type=click.IntRange(1, 64),
    metavar="T",
    help="Real timesteps, where the file says none.",
)
@click.option("--norm", type=click.IntRange(1, 255), help="What counts are divided by. Default: D.")
@click.option(
    "--offset-bits",
    type=click.IntRange(0, 16),
    metavar="B",
    help="Fraction bits of learned offsets between pixels; 0: as they are. Default: with integer "
    "weights 8, else 0.",
)
@click.option(
    "--size", type=Size(), metavar="SIDE|HxW", help="Of the input in pixels. Default: as trained."
)
@click.option("--resize", type=click.IntRange(16, 4096), help="Short side before cropping.")
@click.option("--task", type=click.Choice(TASKS), help="What an ONNX file is for.")
@click.option("--classes", type=options.FILE, help="Class names: one a line, or a JSON list.")
@click.option(
    "--keep-chains",
    type=click.Choice(get_args(Chains)),
    default="none",
    show_default=True,
    help="Convolutions without a neuron between them that stay apart: fewer weights, but all but "
    "the first of a chain multiply. separable: chains that begin with a depthwise one.",
)
@options.json
def command(
    checkpoint: Path,
    out: Path | None,
    weights: Arithmetic | None,
    layers: tuple[str, ...],
    calibrate: Path | None,
    arch: str | None,
    levels: int | None,
    steps: int | None,
    norm: int | None,
    offset_bits: int | None,
    size: tuple[int, int] | None,
    resize: int | None,
    task: str | None,
    classes: Path | None,
    keep_chains: Chains,
    json_path: Path | None,
) -> None:
    """Turn a checkpoint of the official code, an ONNX file or an artefact into an artefact."""
    arithmetic: Arithmetic = weights or "float32"
    if arithmetic == "float32" and (layers or calibrate):
        raise click.UsageError("--layer and --calibrate are for --weights int8 or int16")
    overrides = [_override(text) for text in layers]
    report = Report(f"export {checkpoint}", json_path)
    names = read_classes(classes) if classes else None
    integers = arithmetic != "float32"
    wishes = Wishes(arch, levels, steps, size, resize, task, norm, offset_bits, integers)
    with report.progress("exporting"):
        source = read_network(checkpoint, wishes)
        samples = _calibration(source, calibrate) if integers else None
        graph = s2f_deploy.lower_content(
            source.onnx,
            source.name,
            arithmetic,
            calibration=samples,
            layers=overrides,
            keep_chains=keep_chains,
        )
    metadata = {**source.metadata, **graph.metadata, "arithmetic": arithmetic}
    for notice in metadata["notices"]:
        report.notice(notice)
    if integers and samples is None:
        report.notice(
            "nothing to choose the integer weights by: name a folder of "
            f"{source.preparation.suffixes[0]} files or the like with --calibrate"
        )
    if classes:
        metadata["classes"] = check_classes(names, graph, metadata["task"], classes)
    metadata["preprocessing"] = write_preparation(source.preparation)
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


def _calibration(source: FloatNetwork, folder: Path | None) -> NDArray[np.float32] | None:
    """Samples as the network takes them, float32[N, ...], if there are any."""
    if folder is not None:
        files = sample_files(folder, source.preparation.suffixes)
        return np.concatenate(list(Samples(evenly(files, CALIBRATION_SAMPLES), source.preparation)))
    if source.pictures is not None:
        return prepare_pictures(source.pictures, source.preparation)
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
