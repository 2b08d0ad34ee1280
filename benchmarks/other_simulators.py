"""How long do SpikingJelly and snnTorch take for the spikes s2f simulates, and are they the same?

    pip install -c constraints.txt -e '.[benchmarks]'
    python benchmarks/other_simulators.py [--networks bundled m] [--threads 1 2] [--json FILE]

The job is one image through one int8 network as binary spikes, D timesteps per neuron layer; all
have the same weights. SpikingJelly runs with its counter of synaptic operations and without; s2f
always counts. snnTorch's neurons round halves up, so s2f runs the network for it once more with
neurons that do.

First every count of every neuron, every bit of the output and the operations of every layer are
compared on ``--images`` images. Then the simulators take turns on the first: medians, and the
median over the turns of their time over s2f's. Status 1 if SpikingJelly's counts or operations are
not s2f's.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from foreign_simulators import Operations, Outputs, Runner, SnnTorch, SpikingJelly
from numpy.typing import NDArray
from spiking_network import SpikingNetwork
from torch import Tensor, nn

import s2f_deploy
import s2f_models
from s2f_cli.bundled import DEFAULT
from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.ir.graph import Graph
from s2f_deploy.passes.pipeline import INTEGER_PASSES, run_passes
from s2f_deploy.passes.quantise import WeightFormat, quantise
from s2f_deploy.passes.to_events import to_events
from s2f_deploy.passes.to_fixed_point import to_fixed_point
from s2f_sim import Run, Simulator
from s2f_sim.preparation import prepare_pictures, read_preparation

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from golden_weights import fill_golden, golden_image, read_golden

Array = NDArray[np.float32]
GOLDEN = {"t": "base_t_64", "s": "base_s_96", "m": "base_m_224"}
GOLDEN_SIDE = 224


@dataclass(frozen=True, eq=False)
class Job:
    """A network in int8, as an INTEGER graph of real values on grids, and float32[1, C, H, W]s."""

    name: str
    graph: Graph
    images: list[Array]

    def events(self) -> Graph:
        """The network as s2f simulates it."""
        return run_passes(self.graph, (to_fixed_point, to_events))

    def rounding(self, rule: str) -> "Job":
        """The job with neurons that round halves by another rule."""
        nodes = tuple(
            node.with_attributes(rounding=rule) if node.op == "integer_fire" else node
            for node in self.graph.nodes
        )
        return replace(self, graph=self.graph.rebuilt(nodes))


def job(name: str, onnx: bytes, calibration: Array, images: list[Array]) -> Job:
    """Lower a float network as far as real values go."""
    folded = run_passes(import_onnx(onnx, name), INTEGER_PASSES)
    return Job(name, quantise(folded, WeightFormat(8), calibration), images)


def bundled(count: int) -> Job:
    """The bundled network on its calibration images."""
    graph = s2f_deploy.load(DEFAULT.artefact)
    preparation = read_preparation(graph.metadata["preprocessing"], where="artefact")
    assert graph.calibration is not None
    images = prepare_pictures(graph.calibration, preparation)
    return job("e_spikeformer_cifar10", graph.reference, images, list(images[:count, None]))


def golden(size: str, count: int) -> Job:
    """E-SpikeFormer of one size at 224x224 with the golden weights of the tests."""
    record, _ = read_golden("e_spikeformer", GOLDEN[size])
    model = s2f_models.create(f"e_spikeformer_{size}")
    fill_golden(model, record["gain"])
    shape = (1, 3, GOLDEN_SIDE, GOLDEN_SIDE)
    images = [golden_image(shape, seed).astype(np.float32) for seed in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        s2f_deploy.export_onnx(model.float(), shape, path)
        return job(f"e_spikeformer_{size}", path.read_bytes(), images[0], images)


@dataclass(frozen=True)
class Findings:
    """What a simulator gave; s2f's own are what the others' are compared with.

    Attributes:
        spikes: of the first image.
        synops: of the first image; None if the simulator does not count.
        neurons: counts compared, all images.
        mismatches: of them, unequal.
        same_outputs: whether all bits of all outputs are equal.
        layers: with other operations than s2f's, on any image.
    """

    spikes: int
    synops: int | None
    neurons: int
    mismatches: int
    same_outputs: bool
    layers: tuple[str, ...]


def own_findings(runs: Sequence[Run]) -> Findings:
    """Of s2f."""
    spikes = sum(int(counts.sum()) for counts in runs[0].counts.values())
    neurons = sum(counts.size for run in runs for counts in run.counts.values())
    return Findings(spikes, sum(layer.ac for layer in runs[0].layers), neurons, 0, True, ())


def compared(
    runner: Runner, network: SpikingNetwork, images: Sequence[Array], wanted: Sequence[Run]
) -> Findings:
    """Of another simulator."""
    counts: dict[str, NDArray[Any]] = {}

    def keep(name: str, _: nn.Module, __: Any, spikes: Tensor) -> None:
        counts[name] = spikes.sum(0).to(torch.uint8).numpy()

    hooks = [step.register_forward_hook(partial(keep, n)) for n, step in network.neurons.items()]
    found = []
    for image, run in zip(images, wanted, strict=True):
        outputs, operations = runner.run(network, torch.from_numpy(image))
        found.append(_findings(network, counts, outputs, operations, run))
    for hook in hooks:
        hook.remove()
    return replace(
        found[0],
        neurons=sum(one.neurons for one in found),
        mismatches=sum(one.mismatches for one in found),
        same_outputs=all(one.same_outputs for one in found),
        layers=tuple(dict.fromkeys(layer for one in found for layer in one.layers)),
    )


def _findings(
    network: SpikingNetwork,
    counts: dict[str, NDArray[Any]],
    outputs: Outputs,
    operations: Operations | None,
    run: Run,
) -> Findings:
    """Of one image."""
    differing, synops = [], None
    if operations is not None:
        synops, root = operations["Global"], type(network).__name__
        for layer in run.layers:
            theirs = operations.get(f"{root}.{network.scopes[layer.name]}", 0)
            if theirs != layer.ac:
                differing.append(f"{layer.name} ({theirs:,}, s2f {layer.ac:,})")
    return Findings(
        sum(int(array.sum()) for array in counts.values()),
        synops,
        sum(array.size for array in run.counts.values()),
        sum(int((counts[name] != array).sum()) for name, array in run.counts.items()),
        all(np.array_equal(outputs[n].numpy(), array) for n, array in run.outputs.items()),
        tuple(differing),
    )


def timed(runs: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Milliseconds of each, turn by turn; a first turn is not counted."""
    turns: list[list[float]] = []
    for _ in range(repeats + 1):
        times = []
        for run in runs:
            began = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - began))
        turns.append(times)
    return [list(times) for times in zip(*turns[1:], strict=True)]


def compare(
    work: Job, runners: Sequence[Runner], threads: Sequence[int], repeats: int
) -> list[dict[str, Any]]:
    """Check one job in simulators that round alike, then time it; prints and gives its rows."""
    events = work.events()
    torch.set_num_threads(threads[0])
    simulator = Simulator(events, "events", threads[0])
    wanted = [simulator.run(image) for image in work.images]
    networks = [SpikingNetwork(work.graph, events, runner).eval() for runner in runners]
    found = [own_findings(wanted)]
    for runner, network in zip(runners, networks, strict=True):
        found.append(compared(runner, network, work.images, wanted))
    names = ["s2f", *(runner.name for runner in runners)]
    image = torch.from_numpy(work.images[0])
    rows = []
    for count in threads:
        torch.set_num_threads(count)
        simulator = Simulator(events, "events", count)
        runs: list[Callable[[], object]] = [
            partial(simulator.run, work.images[0]),
            *(partial(r.run, n, image) for r, n in zip(runners, networks, strict=True)),
        ]
        turns = timed(runs, repeats)
        for name, times, findings in zip(names, turns, found, strict=True):
            row = {
                "network": work.name,
                "rounding": runners[0].rounding,
                "threads": count,
                "simulator": name,
                "ms": statistics.median(times),
                "best_ms": min(times),
                "ratio": statistics.median(b / a for a, b in zip(turns[0], times, strict=True)),
                "turns_ms": times,
                "images": len(work.images),
                **asdict(findings),
            }
            rows.append(row)
            show(row)
    return rows


def show(row: dict[str, Any]) -> None:
    """Print one row."""
    synops = "" if row["synops"] is None else f"{row['synops']:,}"
    print(
        f"{row['network']:>21} {row['rounding']:>9} {row['threads']:>7} {row['simulator']:<26} "
        f"{row['ms']:>8.1f} {row['best_ms']:>8.1f} "
        f"{row['ratio']:>6.2f} {row['spikes']:>10,} {synops:>13} "
        f"{row['neurons']:>11,} {row['mismatches']:>6} {'yes' if row['same_outputs'] else 'NO':>7}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    networks = ["bundled", *GOLDEN]
    parser.add_argument("--networks", nargs="+", choices=networks, default=["bundled", "m"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=7, help="turns that are timed")
    parser.add_argument("--images", type=int, default=3, help="compared; the first is timed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(arguments)
    jelly = [SpikingJelly(counting=True), SpikingJelly(counting=False)]
    leaky = [SnnTorch()]
    print(
        f"{'network':>21} {'halves':>9} {'threads':>7} {'simulator':<26} {'ms':>8} {'best ms':>8} "
        f"{'ratio':>6} {'spikes':>10} {'synops':>13} {'compared':>11} {'differ':>6} {'outputs':>7}"
    )
    rows = []
    with torch.no_grad():
        for name in args.networks:
            work = bundled(args.images) if name == "bundled" else golden(name, args.images)
            rows += compare(work, jelly, args.threads, args.repeats)
            work = work.rounding(leaky[0].rounding)
            rows += compare(work, leaky, args.threads, args.repeats)
    for layer in dict.fromkeys(layer for row in rows for layer in row["layers"]):
        print(f"other operations in {layer}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    unequal = [r for r in rows if r["layers"] or (r["mismatches"] and r["rounding"] == "half_even")]
    return 1 if unequal else 0


if __name__ == "__main__":
    sys.exit(main())
