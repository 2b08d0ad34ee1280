"""The headline network at its published size: Spike2Former, ADE20K, 512 x 512.

    python benchmarks/spike2former_ade20k.py [--network spike2former_ade20k_v3] [--images DIR]
        [--samples 2] [--side 512] [--variants folded separable] [--folder DIR] [--json FILE]

Spike2Former with random weights whose norms are scaled until the neuron layers emit a mean count of
0.4. Lowered with int8 weights and offsets on a grid of 1/256 pixel, with all chains of convolutions
folded into dense kernels, with those kept that begin with a depthwise one, or with all kept; then:

- every spike and output bit against ONNX Runtime's run of the deployed network;
- time against ONNX Runtime (float32) in turns, both with and without the host's tail, and peak
  memory of a process that only simulates;
- additions and products by part of the network beside the published network's census;
- every product that is left, by layer;
- what the published energy says about mean counts.

With --folder, what is there already is not made again; it is kept.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from s2f_deploy.ir.graph import Graph
from s2f_deploy.passes.merge_convolutions import Chains
from s2f_deploy.passes.pipeline import float_network
from s2f_models.segmentation import PixelClassifier
from s2f_sim.dataset import evenly, sample_files
from s2f_sim.fitted_picture import FittedPicture
from s2f_sim.simulator import Simulator

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from golden_weights import fill_golden, golden_image
from paired import median_ms, median_ratio, times_in_turns
from segmentation_parts import (
    CENSUS_MAC,
    CENSUS_MAC_V3,
    PARTS,
    at_published_mean,
    dense_macs,
    left_products,
    part_of,
    published,
)
from tempering import temper
from whole_networks import peak_megabytes

GAIN, COARSE_ROUNDS, FINE_ROUNDS = 2.0, 16, 6
MEAN_COUNT, OFFSET_BITS = 0.4, 8
VARIANTS: dict[str, Chains] = {"folded": "none", "separable": "separable", "kept": "all"}
Image = NDArray[np.float32]


@dataclass(frozen=True)
class Files:
    """Where everything lies."""

    folder: Path

    @property
    def onnx(self) -> Path:
        """The float network."""
        return self.folder / "network.onnx"

    def artefact(self, variant: str) -> Path:
        """One way to lower it."""
        return self.folder / f"{variant}.s2f"


def export(network: str, image: Image, files: Files) -> None:
    """Temper a network and write it as ONNX, up to the scores of the classes at every pixel."""
    model: Any = s2f_models.create(network, offset_bits=OFFSET_BITS)
    fill_golden(model, GAIN)
    model = model.float().eval()
    whole = torch.from_numpy(image)
    # Most of the way on a quarter of the sides; sums over all positions then need a few more.
    temper(model, whole[..., ::4, ::4].contiguous(), MEAN_COUNT, COARSE_ROUNDS)
    temper(model, whole, MEAN_COUNT, FINE_ROUNDS)
    s2f_deploy.export_onnx(PixelClassifier(model).eval(), image.shape, files.onnx, "scores")


def lower(image: Image, files: Files, variant: str) -> None:
    """Write one artefact."""
    graph = s2f_deploy.lower(files.onnx, "int8", calibration=image, keep_chains=VARIANTS[variant])
    s2f_deploy.save(graph, files.artefact(variant))


def simulate_saved(artefact: Path, image: Path) -> None:
    """What the memory is measured of."""
    s2f_sim.simulate(s2f_deploy.load(artefact), np.load(image), threads=1)


def verified(artefact: Path, images: Sequence[Image], result: Path) -> None:
    """Compare with ONNX Runtime; in a process of its own, which needs more memory."""
    report = s2f_sim.verify(s2f_deploy.load(artefact), images, threads=1)
    result.write_text(json.dumps(report.to_dict()), encoding="utf-8")


def made(what: Path, run: Callable[..., None], *arguments: Any) -> dict[str, float]:
    """Seconds and megabytes that making a file took; nothing if it is there."""
    if what.exists():
        return {}
    began = time.perf_counter()
    megabytes = peak_megabytes(run, *arguments)
    took = {"seconds": time.perf_counter() - began, "mb": megabytes}
    print(f"{what.name}: {took['seconds']:.0f} s, {megabytes:.0f} MB", flush=True)
    return took


def session(content: bytes) -> onnxruntime.InferenceSession:
    """ONNX Runtime, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def timed(graph: Graph, onnx: Path, image: Image, repeats: int) -> dict[str, Any]:
    """Milliseconds and ratios; the tail that both leave to ONNX Runtime is timed alone, too."""
    spikes = Simulator(graph, threads=1)
    dense = session(inliner.inline_local_functions(load(onnx)).SerializeToString())
    (host,) = graph.select("host")
    tail = session(graph.arrays(host)[0].tobytes())
    nodes = graph.by_name()
    feeds = {
        wanted.name: np.zeros(wanted.shape, np.float32)
        for wanted, _ in zip(tail.get_inputs(), (nodes[n] for n in host.inputs), strict=True)
    }
    name = dense.get_inputs()[0].name
    seconds = times_in_turns(
        {
            "spikes": lambda: spikes.run(image),
            "dense": lambda: dense.run(None, {name: image}),
            "tail": lambda: tail.run(None, feeds),
        },
        repeats,
        warm_up=1,
    )
    both = list(zip(seconds["spikes"], seconds["dense"], seconds["tail"], strict=True))
    return {
        "ms": {key: median_ms(times) for key, times in seconds.items()},
        "ratio": median_ratio(seconds["spikes"], seconds["dense"]),
        "ratio_without_tail": float(np.median([(s - t) / (d - t) for s, d, t in both])),
    }


def by_part(run: s2f_sim.Run) -> dict[str, Counter[str]]:
    """Work of one image: additions, products, spikes that arrive, energy."""
    bill = s2f_sim.energy(run)
    parts: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
    for layer, priced in zip(run.layers, bill.layers, strict=True):
        counts = parts[part_of(layer.name, layer.kind)]
        counts["ac"] += layer.ac
        counts["mac"] += layer.mac
        counts["adds"] += layer.membrane_adds
        counts["pj"] += round(priced.energy_events_pj) if layer.kind != "host" else 0
    return parts


def show_parts(
    network: str, census: Counter[str], works: dict[str, dict[str, Counter[str]]]
) -> None:
    """Million operations of every part."""
    published_census = CENSUS_MAC_V3 if network.endswith("_v3") else CENSUS_MAC
    print(f"\n{'part':32}{'census':>9}{'here':>9}" + "".join(
        f"{f'{name} AC':>12}{'MAC':>9}{'mJ':>8}" for name in works
    ))  # fmt: skip
    for part in PARTS:
        stated = published_census.get(part)
        row = f"{part:32}{stated if stated is not None else '':>9}{census[part] / 1e6:9,.0f}"
        for work in works.values():
            done = work[part]
            row += f"{done['ac'] / 1e6:12,.1f}{done['mac'] / 1e6:9,.1f}{done['pj'] / 1e9:8.3f}"
        print(row)
    totals = {name: sum(work.values(), Counter[str]()) for name, work in works.items()}
    row = f"{'all':32}{'':>9}{census.total() / 1e6:9,.0f}"
    for total in totals.values():
        row += f"{total['ac'] / 1e6:12,.1f}{total['mac'] / 1e6:9,.1f}{total['pj'] / 1e9:8.3f}"
    print(row)


def main() -> None:
    """Measure, print, and with ``--json`` write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="spike2former_ade20k")
    parser.add_argument("--images", type=Path, metavar="DIR")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--folder", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    shape = (1, 3, options.side, options.side)
    images = [golden_image(shape, seed).astype(np.float32) for seed in range(options.samples)]
    if options.images:
        preparation = FittedPicture.imagenet(options.side, options.side)
        paths = evenly(sample_files(options.images, preparation.suffixes), options.samples)
        images = [preparation.read(path).x for path in paths]
    with tempfile.TemporaryDirectory() as temporary:
        files = Files(options.folder or Path(temporary))
        files.folder.mkdir(exist_ok=True)
        document = measure(options, images, files)
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if not all(found["equivalent"] for found in document["verified"].values()):
        sys.exit("NOT equal")


def measure(options: argparse.Namespace, images: list[Image], files: Files) -> dict[str, Any]:
    """Everything, printed on the way."""
    network: str = options.network
    making = {"export": made(files.onnx, export, network, images[0], files)}
    np.save(files.folder / "image.npy", images[0])
    found: dict[str, Any] = {"network": network, "published_mean": {}}
    found |= {"verified": {}, "simulating_mb": {}, "time": {}}
    works, products = {}, {}
    for variant in options.variants:
        artefact = files.artefact(variant)
        making[variant] = made(artefact, lower, images[0], files, variant)
        proof = files.folder / f"{variant}.verified.json"
        # The folded one is what is deployed; of the others, one image is enough.
        shown = images if variant == "folded" else images[:1]
        making[f"verify {variant}"] = made(proof, verified, artefact, shown, proof)
        report = json.loads(proof.read_text(encoding="utf-8"))
        keys = ("samples", "neurons", "mismatches", "equivalent", "changed", "wide_layers")
        found["verified"][variant] = {key: report[key] for key in keys}
        memory = peak_megabytes(simulate_saved, artefact, files.folder / "image.npy")
        found["simulating_mb"][variant] = memory
        graph = s2f_deploy.load(artefact)
        run = Simulator(graph, threads=1).run(images[0])
        works[variant], products[variant] = by_part(run), left_products(run)
        found["published_mean"][variant] = at_published_mean(graph)
        if variant == options.variants[0]:
            found["mean_count"] = float(np.mean([c.mean() for c in run.counts.values()]))
            found["populations"] = len(run.counts)
        found["time"][variant] = timed(graph, files.onnx, images[0], options.repeats)
    census = dense_macs(float_network(files.onnx.read_bytes(), network))
    show_parts(network, census, works)
    for variant, rows in products.items():
        print(f"\nproducts left, {variant}:")
        for name, kind, mac in rows:
            print(f"  {name:70}{kind:12}{mac:16,}")
    found |= {"making": making, "published": published()}
    print(json.dumps(found, indent=1))
    table = {variant: {part: dict(c) for part, c in w.items()} for variant, w in works.items()}
    return found | {"parts": table, "census": dict(census), "products": products}


if __name__ == "__main__":
    main()
