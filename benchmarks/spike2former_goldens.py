"""Do lowered Spike2Former networks fire what the official code fired?

    python benchmarks/spike2former_goldens.py --golden DIR [--runs v3_d4 sdda ...] [--json FILE]

DIR holds reference runs of the official code in float64: modules, reduced networks, and networks of
full size on small images, ``<run>.json`` each. For every run:

- with weights in float32 and the sampler exact, as events: every count beside the official one. A
  network as deep as this amplifies one changed count without end, so each layer is also fed the
  official counts; a count that still differs must lie within the rounding errors of float32 from
  a comparator (the bounds of ``s2f verify``), else it is unexplained;
- with weights in int8 and int16 and offsets on a grid of 1/256 pixel: every count and every bit of
  the outputs against ONNX Runtime on the network's own dyadic float form.

Ends with status 1 if a count is unexplained, or anything of the dyadic forms differs. Runs that
cannot be lowered are listed with the reason.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import s2f_deploy
import s2f_sim
from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.graph import Graph
from s2f_deploy.ops import evaluate
from s2f_deploy.passes.pipeline import Arithmetic, float_network
from s2f_sim.deployed_report import DeployedReport
from s2f_sim.error_bounds import reference_bound, spike_bound, trace
from s2f_sim.shown_counts import shown_counts
from s2f_sim.simulator import Simulator
from s2f_sim.spike_roundings import spike_roundings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from spike2former_cases import Counts, GoldenCase, Record, differing, golden_cases, laid_out

MODULES = ("sdda", "encoder_layer", "decoder_layer")
REDUCED = ("v2_d4", "v2_d4_odd", "v2_d8", "v2_d8_t2", "v3_d4", "v3_d8")
FULL_SIZE = ("ade20k_sdtv2_d4", "ade20k_sdtv2_d8", "ade20k_sdtv3_d8")
DYADIC: tuple[Arithmetic, ...] = ("int8", "int16")
OFFSET_BITS = 8
DIGEST = 32
TINY = 1e-300
Array = NDArray[Any]


@dataclass
class Found:
    """One run.

    Attributes:
        refused: why it cannot be lowered with float32 weights, of which nothing is known then.
        layers: neuron layers of the official code, all of them compared.
        counts: of these, over all inputs.
        differ: of the whole network run as events.
        differ_first: the first layer, in firing order, in which any does.
        fed: counts compared while every layer is fed the official ones: of populations, of which
            one may fire for several layers.
        fed_differ: of these, by layer.
        unexplained: of these, too far from every comparator.
        farthest: of those explained, the largest distance from a comparator, in counts, and in
            shares of what rounding allows.
        dyadic: by arithmetic: counts, values of outputs, and how many of both differ.
    """

    run: str
    refused: str = ""
    inputs: int = 0
    layers: int = 0
    counts: int = 0
    differ: int = 0
    differ_first: str = ""
    fed: int = 0
    fed_differ: dict[str, int] = field(default_factory=dict)
    unexplained: int = 0
    farthest: list[float] = field(default_factory=lambda: [0.0, 0.0])
    dyadic: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether nothing is against the promise."""
        wrong = sum(form["differ"] for form in self.dyadic.values())
        return not (self.unexplained or wrong)


def read(folder: Path, run: str) -> Record:
    """A record of the official code, in the words of the tests' records."""
    record: Record = json.loads((folder / f"{run}.json").read_text(encoding="utf-8"))
    said = record["config"]
    if "head_D" in said:
        record["config"] = said | {"D": said["head_D"], "Norm": said["head_Norm"]}
    record["neurons"] = [[n["path"], n["shape"], n["sha256"][:DIGEST]] for n in record["neurons"]]
    return record


def exported(case: GoldenCase, folder: Path) -> Path:
    """The float32 network as ONNX."""
    path = folder / "network.onnx"
    s2f_deploy.export_onnx(case.model.float(), tuple(case.sample.shape), path)
    return path


def by_model(cases: list[GoldenCase]) -> list[list[GoldenCase]]:
    """Inputs of the same module together."""
    models = dict.fromkeys(case.model for case in cases)
    return [[case for case in cases if case.model is model] for model in models]


def sample_of(case: GoldenCase) -> NDArray[np.float32]:
    """float32[1, ...]."""
    return case.sample.numpy().astype(np.float32)


def compare_official(found: Found, graph: Graph, case: GoldenCase) -> None:
    """The whole network as events beside the official counts, then layer by layer."""
    simulator, sample = Simulator(graph, threads=1), sample_of(case)
    run = simulator.run(sample)
    shown = shown_counts(graph, {name: counts[0] for name, counts in run.counts.items()})
    wrong = differing(shown, case.counts)
    found.layers = len(case.counts)
    found.counts += sum(counts.size for counts in case.counts.values())
    found.differ += sum(wrong.values())
    found.differ_first = found.differ_first or next(iter(wrong), "")
    network = float_network(graph.reference, graph.name)
    official = of_populations(network, case.counts)
    forced = {name: counts[None] for name, counts in official.items()}
    fed = simulator.run(sample, forced=forced).counts
    roundings = spike_roundings(graph, official)
    for node, membrane in trace(network, sample[0], official, roundings):
        if node.op != "integer_fire":
            continue
        pair = official[node.name], fed[node.name][0]
        found.fed += pair[0].size
        odd = pair[0] != pair[1]
        if odd.any():
            bound = reference_bound(node, membrane) + spike_bound(
                node, membrane, roundings[node.name]
            )
            allowed = np.broadcast_to(bound, odd.shape)[odd]
            away = distances(membrane.value[odd], pair[0][odd], pair[1][odd], node["levels"])
            found.fed_differ[node.name] = found.fed_differ.get(node.name, 0) + len(away)
            found.unexplained += int(np.count_nonzero(away > allowed))
            found.farthest = [
                max(found.farthest[0], float(away.max())),
                max(found.farthest[1], float((away / np.maximum(allowed, TINY)).max())),
            ]


def distances(membrane: Array, official: Array, fired: Array, levels: int) -> Array:
    """How far membranes lie from where each of two counts would be right."""
    needed = [np.zeros(membrane.shape)]
    for count in (official.astype(np.float64), fired.astype(np.float64)):
        needed.append(np.where(count > 0, count - 0.5 - membrane, 0.0))
        needed.append(np.where(count < levels, membrane - count - 0.5, 0.0))
    farthest: Array = np.max(needed, axis=0)
    return farthest


def of_populations(network: Graph, official: Counts) -> dict[str, NDArray[np.uint8]]:
    """Counts of what fires in the graph, from those of the neurons that it stands for."""
    shows: dict[str, tuple[str, Array]] = {}
    for node in network.nodes:
        if node.op == "integer_fire":
            places = np.arange(int(np.prod(node.output.shape))).reshape(node.output.shape)
            shows[node.name] = node.name, places
        elif node.op in ("reshape", "rewire") and node.inputs[0] in shows:
            population, places = shows[node.inputs[0]]
            shows[node.name] = population, evaluate(node, [places], network.arrays(node))
    found: dict[str, NDArray[np.uint8]] = {}
    shapes = {name: places.shape for name, (_, places) in shows.items()}
    for name, counts in laid_out(official, shapes).items():
        population, places = shows[name]
        whole = np.empty(places.size, np.uint8)
        assert np.array_equal(np.sort(places.reshape(-1)), np.arange(places.size))
        whole[places.reshape(-1)] = counts.reshape(-1)
        found[population] = whole.reshape(network.node(population).output.shape)
    return found


def compare_dyadic(found: Found, cases: list[GoldenCase], onnx: Path) -> None:
    """Every integer arithmetic against ONNX Runtime on its own float form."""
    samples = [sample_of(case) for case in cases]
    for arithmetic in DYADIC:
        graph = s2f_deploy.lower(onnx, arithmetic, calibration=samples[0])
        report = s2f_sim.verify(graph, samples, threads=1)
        assert isinstance(report, DeployedReport)
        form = found.dyadic.setdefault(arithmetic, {"counts": 0, "values": 0, "differ": 0})
        form["counts"] += report.neurons
        form["values"] += sum(output.values for output in report.outputs)
        form["differ"] += report.mismatches


def measure(run: str, record: Record) -> Found:
    """One run, all its inputs."""
    found, began = Found(run), time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cases = golden_cases(run, record)
        found.inputs = len(cases)
        try:
            for alike in by_model(cases):
                graph = s2f_deploy.lower(exported(alike[0], folder))
                for case in alike:
                    compare_official(found, graph, case)
        except UnsupportedPatternError as refusal:
            found.refused = str(refusal).splitlines()[0]
        for alike in by_model(golden_cases(run, record, OFFSET_BITS)):
            compare_dyadic(found, alike, exported(alike[0], folder))
    found.seconds = time.perf_counter() - began
    return found


HEADING = (
    f"{'run':18}{'inputs':>7}{'layers':>7}{'counts':>12}{'differ':>10}{'fed, differ':>12}"
    f"{'unexpl.':>8}{'farthest':>10}{'of bound':>9}"
    + "".join(f"{f'{kind} counts':>13}{'values':>10}{'differ':>7}" for kind in DYADIC)
    + f"{'s':>7}"
)


def line(found: Found) -> str:
    """One row of the table."""
    far, share = found.farthest
    forms: list[Mapping[str, int]] = [found.dyadic[kind] for kind in DYADIC]
    official = (
        f"{found.layers:>7}{found.counts:>12,}{found.differ:>10,}"
        f"{sum(found.fed_differ.values()):>12,}{found.unexplained:>8,}{far:>10.1e}{share:>9.3f}"
    )
    return (
        f"{found.run:18}{found.inputs:>7}"
        + ("refused".rjust(len(official)) if found.refused else official)
        + "".join(f"{f['counts']:>13,}{f['values']:>10,}{f['differ']:>7,}" for f in forms)
        + f"{found.seconds:>7.0f}"
        + (f"\nrefused: {found.refused}" if found.refused else "")
    )


def main() -> None:
    """Print a row per run; with ``--json``, write them too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path, required=True, metavar="DIR")
    every = (*MODULES, *REDUCED, *FULL_SIZE)
    parser.add_argument("--runs", nargs="+", choices=every, default=every, metavar="RUN")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(HEADING, flush=True)
    rows = []
    for run in options.runs:
        rows.append(measure(run, read(options.golden, run)))
        print(line(rows[-1]), flush=True)
        for layer, counts in rows[-1].fed_differ.items():
            print(f"{'':18}fed, {counts} of {layer}", flush=True)
    if options.json:
        document = [asdict(row) for row in rows]
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if not all(row.equal for row in rows):
        sys.exit("NOT equal")


if __name__ == "__main__":
    main()
