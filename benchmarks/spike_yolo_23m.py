"""The published detector at its published size, with its published activity.

    python benchmarks/spike_yolo_23m.py --images DIR [--side 640] [--samples 3] [--json FILE]

SpikeYOLO s ("23M", 80 classes) with random weights whose norms are scaled until every neuron layer
emits about the mean count that its authors measured on COCO. Lowered with int8 weights, then:

- every spike and output bit against ONNX Runtime's run of the deployed network, on photographs;
- time against ONNX Runtime (float32) in turns, and peak memory of a process that only simulates;
- accumulations and rates per layer beside the published table;
- the published rates times this network's own products, against the published total.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import inliner, load

import s2f_deploy
import s2f_models
import s2f_sim
from s2f_sim.dataset import evenly, sample_files
from s2f_sim.published_rates import energy_of_rates, read_rates
from s2f_sim.simulator import Simulator
from s2f_sim.whole_picture import WholePicture

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from golden_weights import fill_golden
from paired import median_ms, median_ratio, times_in_turns
from tempering import temper
from whole_networks import peak_megabytes

RATES = Path(__file__).with_name("spike_yolo_23m_rates.csv")
GAIN, ROUNDS = 2.0, 20
STATED_MJ, RECOUNTED_MJ = 34.489, 35.377


def build(images: list[NDArray[np.float32]], folder: Path) -> dict[str, float]:
    """Write network.onnx and network.s2f; returns the mean counts that tempering reached."""
    model: Any = s2f_models.create("spike_yolo_s")
    fill_golden(model, GAIN)
    model = model.float().eval()
    published = {f"model.{r.neuron}": r.rate for r in read_rates(RATES)}
    reached = temper(model, torch.from_numpy(images[0]), published, ROUNDS)
    onnx = folder / "network.onnx"
    s2f_deploy.export_onnx(model, images[0].shape, onnx, "detections")
    graph = s2f_deploy.lower(onnx, "int8", calibration=np.concatenate(images[:1]))
    s2f_deploy.save(graph, folder / "network.s2f")
    return reached


def simulate_saved(artefact: Path, image: Path) -> None:
    """What the memory is measured of."""
    s2f_sim.simulate(s2f_deploy.load(artefact), np.load(image), threads=1)


def session(onnx: Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the float network, neurons inlined, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    content = inliner.inline_local_functions(load(onnx)).SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def main() -> None:
    """Measure, print, and with ``--json`` write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    preparation = WholePicture(options.side, options.side)
    files = evenly(sample_files(options.images, preparation.suffixes), options.samples)
    images = [preparation.read(path).x for path in files]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        building = peak_megabytes(build, images, folder)
        np.save(folder / "image.npy", images[0])
        memory = peak_megabytes(simulate_saved, folder / "network.s2f", folder / "image.npy")
        graph = s2f_deploy.load(folder / "network.s2f")
        proved = s2f_sim.verify(graph, images, threads=1)
        spikes, dense = Simulator(graph, threads=1), session(folder / "network.onnx")
        name = dense.get_inputs()[0].name
        seconds = times_in_turns(
            {
                "spikes": lambda: spikes.run(images[0]),
                "dense": lambda: dense.run(None, {name: images[0]}),
            },
            options.repeats,
            warm_up=1,
        )
        run = spikes.run(images[0])
    rates = read_rates(RATES)
    bill = energy_of_rates(graph, rates)
    published = {f"model.{rate.neuron}": rate.rate for rate in rates}
    counts = {layer.name: layer for layer in run.layers}
    print(
        f"{'layer':28}{'published':>10}{'here':>8}{'dense MAC':>16}{'AC':>16}{'AC published':>16}"
    )
    rows = []
    for layer in bill.layers:
        done = counts[layer.name]
        paper = (layer.rate or 0) * layer.mac
        rows.append(
            asdict(layer) | {"ac": done.ac, "here": done.mean_activation, "ac_published": paper}
        )
        print(
            f"{layer.name:28}{published.get(layer.neuron, 0):10.4f}{done.mean_activation:8.4f}"
            f"{layer.mac:16,}{done.ac:16,}{paper:16,.0f}"
        )
    milliseconds = {key: median_ms(times) for key, times in seconds.items()}
    summary = {
        "images": len(images),
        "side": options.side,
        "neurons": proved.neurons,
        "mismatches": proved.mismatches,
        "equivalent": proved.equivalent,
        "ac": sum(layer.ac for layer in run.layers),
        "ac_published": bill.synops,
        "ms": milliseconds,
        "ratio": median_ratio(seconds["spikes"], seconds["dense"]),
        "simulating_mb": memory,
        "building_mb": building,
        "recounted_mj": bill.energy_pj / 1e9,
        "stated_mj": (bill.stated_pj or 0) / 1e9,
    }
    print(json.dumps(summary, indent=1))
    if options.json:
        document = summary | {"layers": rows}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    same = (
        round(summary["stated_mj"], 3) == STATED_MJ
        and round(summary["recounted_mj"], 3) == RECOUNTED_MJ
    )
    if options.side == 640 and not (same and proved.equivalent):  # noqa: PLR2004 (as published)
        sys.exit("NOT what was published, or not equal")


if __name__ == "__main__":
    main()
