"""Does the time of a simulation grow with the spikes, and with nothing else?

    python benchmarks/scaling.py [--json FILE]

One convolutional network, int8: a line through time over synaptic accumulations with its
residuals, then time over image side, width, D, and threads. Times are medians.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import s2f_deploy
import s2f_models
from s2f_sim.simulator import Simulator

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from golden_weights import fill_golden
from paired import median_ms, times_in_turns
from tempering import temper

NETWORK = "e_spikeformer_s"
WIDTHS = (32, 64, 128, 192)


def graph_of(
    side: int, mean_count: float, width: float = 1.0, levels: int = 4
) -> tuple[s2f_deploy.Graph, NDArray[np.float32]]:
    """E-SpikeFormer s of that activity, lowered to int8, and its image."""
    dims = tuple(int(width * channels) for channels in WIDTHS)
    model: Any = s2f_models.create(NETWORK, embed_dims=dims, D=levels)
    fill_golden(model, 2.75)
    model = model.float().eval()
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, side, side)).astype(np.float32)
    temper(model, torch.from_numpy(image), mean_count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        s2f_deploy.export_onnx(model, image.shape, path)
        return s2f_deploy.lower(path, arithmetic="int8"), image


def point(graph: s2f_deploy.Graph, image: NDArray[np.float32], threads: int) -> dict[str, float]:
    """Time and work of one simulation."""
    simulator = Simulator(graph, threads=threads)
    layers = simulator.run(image).layers
    seconds = times_in_turns({"run": lambda: simulator.run(image)}, 15)["run"]
    return {
        "ms": median_ms(seconds),
        "accumulations": sum(layer.ac for layer in layers),
        "spikes": sum(layer.spikes for layer in layers if layer.kind == "neuron"),
    }


def main() -> None:
    """Print the tables; with ``--json``, write them too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    cases: dict[str, list[tuple[float, dict[str, Any]]]] = {
        "mean count": [(count, {"mean_count": count}) for count in (0.1, 0.2, 0.4, 0.8, 1.2)],
        "image side": [(side, {"side": side}) for side in (64, 128, 192, 256, 384)],
        "width": [(width, {"width": width}) for width in (0.5, 1.0, 2.0)],
        "D": [(levels, {"levels": levels}) for levels in (1, 2, 4, 8)],
    }
    found: dict[str, Any] = {}
    for name, settings in cases.items():
        print(f"{name:>10} {'GAC':>8} {'Mspikes':>8} {'ms, 1 thread':>13} {'ms, 2 threads':>14}")
        found[name] = []
        for value, changed in settings:
            graph, image = graph_of(**({"side": 192, "mean_count": 0.37} | changed))
            one, two = (point(graph, image, threads) for threads in (1, 2))
            print(
                f"{value:10g} {one['accumulations'] / 1e9:8.3f} {one['spikes'] / 1e6:8.3f}"
                f" {one['ms']:13.2f} {two['ms']:14.2f}",
                flush=True,
            )
            found[name].append({"value": value, "one": one, "two": two})
    work = np.array([row["one"]["accumulations"] / 1e9 for row in found["mean count"]])
    taken = np.array([row["one"]["ms"] for row in found["mean count"]])
    slope, start = np.polyfit(work, taken, 1)
    residual = taken - (slope * work + start)
    print(f"time = {start:.2f} ms + {slope:.2f} ms per GAC; residuals {np.round(residual, 2)} ms")
    found["line"] = {"ms": start, "ms_per_gac": slope, "residual_ms": residual.tolist()}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
