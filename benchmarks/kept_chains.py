"""Convolutions without a neuron between them: folded into one kernel, or kept apart?

    python benchmarks/kept_chains.py [--network spike_yolo_s] [--side 640] [--json FILE]

SpikeYOLO's RepConv and SepRepConv chains as one dense kernel each (accumulate-only, more weights),
or as they are (fewer weights, but all but the first convolution multiply real values): weights,
products, and energy by the rates that its authors published.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import s2f_deploy
import s2f_models
from s2f_deploy.passes.merge_convolutions import Chains
from s2f_sim.published_rates import energy_of_rates, read_rates

VARIANTS: dict[str, Chains] = {"folded": "none", "kept": "all"}
RATES = Path(__file__).with_name("spike_yolo_23m_rates.csv")


def main() -> None:
    """Print both; with ``--json``, write them too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="spike_yolo_s")
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        model: Any = s2f_models.create(options.network).eval()
        onnx = Path(folder) / "network.onnx"
        shape = model.config.input_shape(options.side, options.side)
        s2f_deploy.export_onnx(model, shape, onnx, "detections")
        for name, kept in VARIANTS.items():
            graph = s2f_deploy.lower(onnx, keep_chains=kept)
            bill = energy_of_rates(graph, read_rates(RATES))
            layers = list(graph.select("conv2d", "event_conv2d", "linear", "event_linear"))
            weights = sum(graph.arrays(layer)[0].size for layer in layers)
            multiplied = sum(layer.mac for layer in bill.layers if layer.rate is None)
            found[name] = {
                "weights": weights,
                "synops": bill.synops,
                "mac": multiplied,
                "energy_mj": bill.energy_pj / 1e9,
            }
            print(
                f"{name}: {weights / 1e6:.2f} M weights, {bill.synops / 1e9:.2f} G synaptic "
                f"operations, {multiplied / 1e9:.2f} G MAC, {bill.energy_pj / 1e9:.2f} mJ",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
