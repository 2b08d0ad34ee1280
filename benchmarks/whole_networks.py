"""Is simulating the spikes faster than running the dense network?

    python benchmarks/whole_networks.py [--network NAME] [--counts 0.1 0.37 0.8] [--json FILE]

E-SpikeFormer with random weights whose norms are scaled until the mean count over the neuron layers
is what was asked for. A full simulation, every spike and synaptic operation counted, then ONNX
Runtime in int8 (QDQ, per channel) and PyTorch: each in turns with ONNX Runtime in float32, on the
same number of threads. Spikes must be those of the deployed network: the script checks int8 counts
against the dense reference before it measures. Peak memory is that of a process of its own that
does nothing else.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import inliner
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

import s2f_deploy
import s2f_models
from s2f_sim.simulator import Simulator

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from golden_weights import fill_golden
from paired import median_ms, median_ratio, times_in_turns
from tempering import temper

GAIN = 2.75
ARITHMETICS = ("int8", "float32")
STREAM = 5
"""Images after which a simulator keeps what it keeps."""
DENSE = "float32"


@dataclass(frozen=True)
class Row:
    """One activity and number of threads; times are medians in milliseconds.

    ``dense_ms`` are those of ONNX Runtime in float32, in turns with each of the others; ``gain`` is
    how many times as fast as in one thread the int8 simulation is, in turns with that.
    """

    network: str
    threads: int
    mean_count: float
    accumulations: int
    dense_macs: int
    ms: dict[str, float]
    dense_ms: dict[str, float]
    ratio_to_float32: dict[str, float]
    gain: float


class OneImage(CalibrationDataReader):  # type: ignore[misc]
    """What ONNX Runtime quantises by."""

    def __init__(self, name: str, image: NDArray[np.float32]) -> None:
        self._left = [{name: image}]

    def get_next(self) -> dict[str, Any] | None:
        """The next sample."""
        return self._left.pop() if self._left else None


def build(network: str, side: int, mean_count: float, folder: Path) -> tuple[Any, Path, float]:
    """A network of that activity: the model, its ONNX file, and its mean count."""
    model = s2f_models.create(network)
    fill_golden(model, GAIN)
    model = model.float().eval()
    image = torch.from_numpy(an_image(side))
    means = temper(model, image, mean_count)
    path = folder / f"{network}_{mean_count}.onnx"
    s2f_deploy.export_onnx(model, tuple(image.shape), path)
    return model, path, float(np.mean(list(means.values())))


def an_image(side: int) -> NDArray[np.float32]:
    """Noise of the range that a normalised photograph has."""
    drawn = np.random.default_rng(0).uniform(-1, 1, (1, 3, side, side))
    return drawn.astype(np.float32)


def session(path: Path, threads: int, image: NDArray[np.float32]) -> Callable[[], object]:
    """ONNX Runtime on one file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    running = onnxruntime.InferenceSession(path, options)
    feed = {running.get_inputs()[0].name: image}
    return lambda: running.run(None, feed)


def quantised(path: Path, image: NDArray[np.float32]) -> Path:
    """The network in ONNX Runtime's own int8 form."""
    plain, target = path.with_suffix(".plain.onnx"), path.with_suffix(".int8.onnx")
    model = inliner.inline_local_functions(onnx.load(path))
    onnx.save(model, plain)
    reader = OneImage(model.graph.input[0].name, image)
    quantize_static(
        plain, target, reader, quant_format=QuantFormat.QDQ, per_channel=True,
        op_types_to_quantize=["Conv", "MatMul", "Gemm"],
    )  # fmt: skip
    return target


def measure(network: str, side: int, count: float, repeats: int, folder: Path) -> list[Row]:
    """All engines at one activity, one and two threads."""
    image = an_image(side)
    model, path, mean_count = build(network, side, count, folder)
    graphs = {kind: s2f_deploy.lower(path, arithmetic=kind) for kind in ARITHMETICS}
    check_exact(graphs["int8"], image)
    int8 = quantised(path, image)
    rows = []
    alone = Simulator(graphs["int8"], threads=1)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        simulators = {kind: Simulator(graph, threads=threads) for kind, graph in graphs.items()}

        def run_torch() -> None:
            with torch.inference_mode():
                model(torch.from_numpy(image))

        runs: dict[str, Callable[[], object]] = {
            "s2f int8": lambda: simulators["int8"].run(image),  # noqa: B023
            "s2f float32": lambda: simulators["float32"].run(image),  # noqa: B023
            "int8": session(int8, threads, image),
            "torch": run_torch,
        }
        dense = session(path, threads, image)
        pairs = {n: times_in_turns({DENSE: dense, n: run}, repeats) for n, run in runs.items()}
        own = {"alone": lambda: alone.run(image), "s2f int8": runs["s2f int8"]}
        in_turns = times_in_turns(own, 2 * repeats) if threads > 1 else None
        layers = simulators["int8"].run(image).layers
        rows.append(
            Row(
                network,
                threads,
                mean_count,
                sum(layer.ac for layer in layers),
                sum(layer.dense_mac for layer in layers),
                {name: median_ms(pair[name]) for name, pair in pairs.items()},
                {name: median_ms(pair[DENSE]) for name, pair in pairs.items()},
                {n: median_ratio(pair[n], pair[DENSE]) for n, pair in pairs.items()},
                median_ratio(in_turns["alone"], in_turns["s2f int8"]) if in_turns else 1.0,
            )
        )
    return rows


def check_exact(graph: s2f_deploy.Graph, image: NDArray[np.float32]) -> None:
    """Stop if a spike of a stream of images differs from the dense reference."""
    simulator, expected = Simulator(graph), Simulator(graph, "reference").run(image)
    for _ in range(STREAM):
        found = simulator.run(image)
    for name, counts in expected.counts.items():
        if not np.array_equal(found.counts[name], counts):
            raise AssertionError(f"{name}: counts differ from the dense reference")
    if found.layers != expected.layers:
        raise AssertionError("synaptic operations differ from the dense reference")


def peak_megabytes(run: Callable[..., None], *arguments: Any) -> float:
    """Peak memory of a process that does nothing but ``run``."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_report_peak, args=(queue, run, *arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the measured process ended with {process.exitcode}")
    return float(queue.get())


def _report_peak(queue: Any, run: Callable[..., None], *arguments: Any) -> None:
    # Linux counts the parent's peak for a new process, too: begin anew.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    run(*arguments)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    queue.put(int(peak.split()[1]) / 1e3)


def simulate_some(path: Path, side: int) -> None:
    """What a user does: load, simulate some images, one after the other."""
    simulator = Simulator(s2f_deploy.load(path), threads=1)
    for _ in range(STREAM):
        simulator.run(an_image(side))


def dense_once(path: Path, side: int) -> None:
    """The same in ONNX Runtime."""
    session(path, 1, an_image(side))()


def main() -> None:
    """Print the table; with ``--json``, write it too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="e_spikeformer_m")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--counts", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.37, 0.8, 1.0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    columns = ("s2f int8", "s2f float32", "int8", "torch")
    print("threads  count   GAC " + "".join(f"{name + ' / float32':>28}" for name in columns))
    rows: list[Row] = []
    memory = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in options.counts:
            found = measure(options.network, options.side, count, options.repeats, Path(folder))
            for row in found:
                cells = "".join(
                    f"{row.ms[name]:9.1f} /{row.dense_ms[name]:6.1f} ms"
                    f" ({row.ratio_to_float32[name]:5.3f})"
                    for name in columns
                )
                head = f"{row.threads:7} {row.mean_count:6.3f} {row.accumulations / 1e9:5.2f}  "
                print(f"{head}{cells}   {row.gain:.2f} times as fast as in one", flush=True)
            rows += found
        path = Path(folder) / f"{options.network}_{options.counts[-1]}.onnx"
        for kind in ARITHMETICS:
            artefact = path.with_suffix(f".{kind}.s2f")
            s2f_deploy.save(s2f_deploy.lower(path, arithmetic=kind), artefact)
            memory[f"s2f {kind}"] = peak_megabytes(simulate_some, artefact, options.side)
        memory["float32"] = peak_megabytes(dense_once, path, options.side)
    for name, megabytes in memory.items():
        print(f"peak memory of a process, {name}: {megabytes:.0f} MB")
    if options.json:
        found_rows = [asdict(row) for row in rows]
        document = json.dumps({"rows": found_rows, "peak_megabytes": memory}, indent=1)
        options.json.write_text(document + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
