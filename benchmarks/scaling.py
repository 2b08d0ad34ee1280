"""Does the time of a simulation grow with the spikes, and with nothing else?

    python benchmarks/scaling.py [--json FILE]

One convolutional network, int8: a line through time over synaptic accumulations with its
residuals, then time over image side, width, D, and threads. Times are medians; all of a table take
turns.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import s2f_deploy
import s2f_models
from s2f_sim.run import Run
from s2f_sim.simulator import Simulator

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from golden_weights import fill_golden
from paired import median_ms, times_in_turns
from tempering import temper
from whole_networks import STREAM

NETWORK = "e_spikeformer_s"
WIDTHS = (32, 64, 128, 192)
REPEATS = 31


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


def points(name: str, settings: list[tuple[float, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Time and work of one simulation for every setting, all taking turns."""
    runs: dict[str, Callable[[], Run]] = {}
    for value, changed in settings:
        graph, image = graph_of(**({"side": 192, "mean_count": 0.37} | changed))
        for threads in (1, 2):
            runs[f"{value} {threads}"] = partial(Simulator(graph, threads=threads).run, image)
    seconds, rows = times_in_turns(runs, REPEATS, STREAM), []
    print(f"{name:>10} {'GAC':>8} {'Mspikes':>8} {'ms, 1 thread':>13} {'ms, 2 threads':>14}")
    for value, _ in settings:
        layers = runs[f"{value} 1"]().layers
        row = {
            "value": value,
            "ms": [median_ms(seconds[f"{value} {threads}"]) for threads in (1, 2)],
            "accumulations": sum(layer.ac for layer in layers),
            "spikes": sum(layer.spikes for layer in layers if layer.kind == "neuron"),
        }
        print(
            f"{value:10g} {row['accumulations'] / 1e9:8.3f} {row['spikes'] / 1e6:8.3f}"
            f" {row['ms'][0]:13.2f} {row['ms'][1]:14.2f}",
            flush=True,
        )
        rows.append(row)
    return rows


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
    found: dict[str, Any] = {name: points(name, settings) for name, settings in cases.items()}
    work = np.array([row["accumulations"] / 1e9 for row in found["mean count"]])
    taken = np.array([row["ms"][0] for row in found["mean count"]])
    slope, start = np.polyfit(work, taken, 1)
    residual = taken - (slope * work + start)
    print(f"time = {start:.2f} ms + {slope:.2f} ms per GAC; residuals {np.round(residual, 2)} ms")
    found["line"] = {"ms": start, "ms_per_gac": slope, "residual_ms": residual.tolist()}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
