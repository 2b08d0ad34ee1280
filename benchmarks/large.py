"""Do large networks fit? Peak memory and time of a process that loads one and simulates an image.

    python benchmarks/large.py [--json FILE]

E-SpikeFormer l, and the same network widened to the 83 million parameters of the largest published
one, with random weights in int8 at 224x224. Artefacts are made in a process of their own, whose
peak is told too.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tempering import temper
from whole_networks import STREAM, an_image, peak_megabytes, simulate_some

import s2f_deploy
import s2f_models
from s2f_sim.simulator import Simulator

SIDE = 224
MEAN_COUNT = 0.37
NETWORKS: dict[str, dict[str, Any]] = {
    "l": {},
    "83 M": {"embed_dims": (128, 256, 544, 768)},
}


def export(widths: dict[str, Any], artefact: Path) -> None:
    """Build, scale the norms until the mean count is SpikeYOLO's published one, and lower."""
    torch.manual_seed(0)
    model: Any = s2f_models.create("e_spikeformer_l", **widths).eval()
    temper(model, torch.from_numpy(an_image(SIDE)), MEAN_COUNT)
    onnx = artefact.with_suffix(".onnx")
    s2f_deploy.export_onnx(model, (1, 3, SIDE, SIDE), onnx)
    s2f_deploy.save(s2f_deploy.lower(onnx, arithmetic="int8"), artefact)


def main() -> None:
    """Print a line for each; with ``--json``, write them too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, widths in NETWORKS.items():
            artefact = Path(folder) / f"{name.replace(' ', '')}.s2f"
            exporting = peak_megabytes(export, widths, artefact)
            simulating = peak_megabytes(simulate_some, artefact, SIDE)
            simulator = Simulator(s2f_deploy.load(artefact))
            for _ in range(STREAM):
                simulator.run(an_image(SIDE))
            begin = time.perf_counter()
            run = simulator.run(an_image(SIDE))
            seconds = time.perf_counter() - begin
            with torch.device("meta"):
                model = s2f_models.create("e_spikeformer_l", **widths)
                parameters = sum(parameter.numel() for parameter in model.parameters())
            accumulations = sum(layer.ac for layer in run.layers)
            print(
                f"{name}: {parameters / 1e6:.1f} M parameters, {accumulations / 1e9:.2f} GAC in "
                f"{seconds:.2f} s, simulating {simulating:.0f} MB, exporting {exporting:.0f} MB",
                flush=True,
            )
            found[name] = {
                "parameters": parameters,
                "accumulations": accumulations,
                "seconds": seconds,
                "simulating_mb": simulating,
                "exporting_mb": exporting,
            }
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
