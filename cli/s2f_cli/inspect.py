"""``s2f inspect``: what an artefact is, without running it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from s2f_cli import options
from s2f_cli.report import GAP, Report
from s2f_cli.subject import choose_artefact, hand_on
from s2f_deploy import load
from s2f_deploy.ir.text import print_graph
from s2f_sim.inspection import Inspection, LayerInspection, inspect_graph
from s2f_sim.quantisation import Quantisation

Cell = Callable[[LayerInspection], object]


def _weight_type(layer: LayerInspection) -> str | None:
    """The type, and the bits where the weights need fewer: ``int8 (5)``."""
    kind, bits = layer.weight_type, layer.weight_bits
    return kind if kind in (None, f"int{bits}", f"float{bits}") else f"{kind} ({bits})"


def _kernel(layer: LayerInspection) -> str | None:
    """Its name, and how many outputs a row serves: ``conv x2``."""
    name = KERNELS.get(layer.kernel or "", layer.kernel)
    return f"{name} x{layer.together}" if (layer.together or 1) > 1 else name


KERNELS = {"qk_v": "(qk)v", "q_kv": "q(kv)", "convolution": "conv"}
LAYER: Mapping[str, Cell] = {"layer": lambda layer: layer.name}
MEANING: Mapping[str, Cell] = {
    "op": lambda layer: layer.op,
    "shape": lambda layer: "x".join(map(str, layer.shape)),
    "window": lambda layer: layer.window,
    "weights": _weight_type,
    "sums": lambda layer: layer.accumulator,
    "bound": lambda layer: layer.bound,
    "bits": lambda layer: layer.bits,
}
COST: Mapping[str, Cell] = {
    "kernel": _kernel,
    "burst": lambda layer: layer.burst,
    "params B": lambda layer: layer.parameter_bytes or None,
    "membranes B": lambda layer: layer.membrane_bytes or None,
    "events B": lambda layer: layer.event_bytes or None,
}
LEFT = frozenset({"layer", "op", "kernel", "weights", "sums"})


@click.command()
@click.argument("artefact", type=options.FILE, required=False, metavar="[MODEL]")
@options.model
@click.option("--graph", "whole", is_flag=True, help="Print the graph, not the table of layers.")
@options.json
def command(artefact: Path | None, model: Path | None, whole: bool, json_path: Path | None) -> None:
    """Print what MODEL is: its layers, what their sums can reach, and the memory they take."""
    if artefact and model:
        raise click.UsageError("name the artefact once: as MODEL or with --model")
    report = Report(f"inspect {artefact or ''}".rstrip(), json_path)
    chosen = choose_artefact(report, artefact or model)
    graph = load(chosen.artefact)
    found = inspect_graph(graph)
    _print_block(report, _header(found))
    report.line()
    if whole:
        report.line(print_graph(graph))
    else:
        _print_layers(report, found.layers)
        report.line()
    _print_block(report, _totals(found))
    report.json("inspect", {"artefact": str(chosen.artefact), **found.to_dict()})
    hand_on(report, chosen, [chosen.image] if chosen.image else [])


def _print_block(report: Report, lines: Mapping[str, str]) -> None:
    for key, text in lines.items():
        report.line(f"{key:<14}{text}")


def _header(found: Inspection) -> dict[str, str]:
    layers = found.layers
    neurons = [layer for layer in layers if layer.neurons]
    reading = sum(1 for layer in layers if layer.synapses)
    attentions = sum(1 for layer in layers if layer.op == "attention")
    sums = sorted({layer.accumulator for layer in layers if layer.accumulator})
    levels = sorted({layer.levels or 0 for layer in neurons})
    lines = {
        "network": f"{found.network}, input {'x'.join(map(str, found.input))}",
        "arithmetic": f"{found.arithmetic} ({found.total('weights'):,} weights), "
        f"sums in {' and '.join(sums)}",
    }
    if found.quantisation:
        lines["quantisation"] = _quantised(found.quantisation)
    return lines | {
        "neurons": f"{found.total('neurons'):,} in {len(neurons)} layers, "
        f"D = {' and '.join(map(str, levels))}, "
        f"{found.windows} windows of {found.levels} timesteps",
        "synapses": f"{found.total('synapses'):,} in {reading} layers"
        + (f"; attentions: {attentions}" if attentions else ""),
    }


def _quantised(cost: Quantisation) -> str:
    changed = "weights chosen without images"
    if cost.calibration_images:
        share = cost.counts_changed / max(cost.neurons, 1)
        changed = f"{share:.2%} of the counts changed on {cost.calibration_images} images"
    kinds = "".join(f"; {pattern} int{bits}" for pattern, bits in cost.overrides.items())
    return f"{cost.weights}{kinds}; {changed}; {cost.cut:,} weights cut off"


def _totals(found: Inspection) -> dict[str, str]:
    total, widest, longest = found.total, found.widest, found.longest_list
    lines = {
        "weights": f"{total('weight_bytes'):,} B; as float32 {found.float_weight_bytes:,} B",
        "other params": f"biases {total('bias_bytes'):,} B, comparators "
        f"{total('comparator_bytes'):,} B, shifts between grids {total('grid_bytes'):,} B",
        "membranes": f"at most {found.live.bytes:,} B at once, while {found.live.layer} runs; "
        f"{total('membrane_bytes'):,} B in all layers",
    }
    if longest:
        lines["event lists"] = (
            f"at most {longest.event_bytes:,} B, for {longest.name}: room for all possible spikes"
        )
    if widest:
        wide = len(found.beyond_float)
        rounded = f"{wide} layers can pass 2^24, beyond which float32 rounds"
        exact = "none can pass 2^24, up to which float32 is exact"
        lines["integer sums"] = (
            f"at most {widest.bits} bits, in {widest.name}; {rounded if wide else exact}"
        )
    return lines


def _print_layers(report: Report, layers: Sequence[LayerInspection]) -> None:
    """One table, or two below each other where the terminal is too narrow for all columns."""
    everything = _told({**LAYER, **MEANING, **COST}, layers)
    whole = _rows(everything, layers)
    columns = zip(everything, *whole, strict=True)
    if sum(max(map(len, column)) + GAP for column in columns) - GAP <= report.console.width:
        _print_table(report, everything, whole)
        return
    for part in (MEANING, COST):
        chosen = _told({**LAYER, **part}, layers)
        told = [row for row in _rows(chosen, layers) if any(row[1:])]
        _print_table(report, chosen, told)
        if part is MEANING:
            report.line()


def _told(cells: Mapping[str, Cell], layers: Sequence[LayerInspection]) -> dict[str, Cell]:
    """The columns in which any layer has something to tell."""
    return {name: cell for name, cell in cells.items() if any(map(cell, layers))}


def _rows(cells: Mapping[str, Cell], layers: Sequence[LayerInspection]) -> list[list[str]]:
    return [[_text(cell(layer)) for cell in cells.values()] for layer in layers]


def _print_table(report: Report, cells: Mapping[str, Cell], rows: list[list[str]]) -> None:
    report.table({name: "left" if name in LEFT else "right" for name in cells}, rows)


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
