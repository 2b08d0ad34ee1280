"""What integer weights cost on CIFAR-10, and whether spikes and dense networks agree on it.

    python benchmarks/integers.py --archive cifar10_jpeg.zip

The bundled network with weights as trained, in int16 and in int8: accuracy of the dense network in
ONNX Runtime (the deployed one where weights are integers) on ``--samples`` test images, evenly
spaced over the classes; then the same images as spikes, and as many as asked for by the dense NumPy
reference: how many answers, and how many outputs bit for bit, are ONNX Runtime's.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import s2f_deploy
from s2f_cli.bundled import DEFAULT
from s2f_deploy import Graph
from s2f_deploy.passes.pipeline import Arithmetic
from s2f_models.train_cifar10 import read_archive
from s2f_sim import Simulator
from s2f_sim.preparation import prepare_pictures, read_preparation
from s2f_sim.simulator import EngineName

BATCH = 50
ARITHMETICS: tuple[Arithmetic, ...] = ("float32", "int16", "int8")


def logits_of_onnx(content: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[N, classes] of a dense network, in batches where it takes them."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options)
    (image,) = session.get_inputs()
    step = 1 if isinstance(image.shape[0], int) else BATCH
    parts = [session.run(None, {image.name: x[i : i + step]})[0] for i in range(0, len(x), step)]
    return np.concatenate(parts)


def agreement(
    graph: Graph, engine: EngineName, x: NDArray[np.float32], dense: NDArray[np.float32]
) -> dict[str, Any]:
    """How many answers and outputs of an engine are the dense network's."""
    simulator = Simulator(graph, engine)
    began = time.perf_counter()
    same_class = same_bits = 0
    for sample, want in zip(x, dense, strict=False):
        (got,) = simulator.run(sample[None]).outputs.values()
        same_class += int(got[0].argmax() == want.argmax())
        same_bits += int(np.array_equal(got[0].view("u4"), want.view("u4")))
    seconds = time.perf_counter() - began
    return {
        "images": len(x),
        "same_class": same_class,
        "same_bits": same_bits,
        "ms_per_image": 1e3 * seconds / max(len(x), 1),
    }


def measure(
    graph: Graph, x: NDArray[np.float32], labels: NDArray[Any], spikes: int, reference: int
) -> dict[str, Any]:
    """Accuracy of the dense network, and the agreement of both engines with it."""
    dense = logits_of_onnx(graph.deployed or graph.reference, x)
    cost = graph.metadata.get("quantisation", {})
    return {
        "accuracy": float((dense.argmax(1) == labels).mean()),
        "correct": int((dense.argmax(1) == labels).sum()),
        "counts_changed": cost.get("counts_changed", 0) / (cost.get("neurons") or 1),
        "events": agreement(graph, "events", x[:spikes], dense),
        "reference": agreement(graph, "reference", x[:reference], dense),
    }


def evenly(count: int, of: int) -> NDArray[np.int64]:
    """Indices of ``count`` samples, in an order that mixes the classes."""
    chosen = np.arange(count) * of // count
    return np.random.default_rng(0).permutation(chosen)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=DEFAULT.artefact)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--spikes", type=int, default=1_000, help="of them, also as spikes")
    parser.add_argument("--reference", type=int, default=200, help="of them, also by NumPy")
    args = parser.parse_args(arguments)
    bundled = s2f_deploy.load(args.model)
    preparation = read_preparation(bundled.metadata["preprocessing"], where="artefact")
    pixels, labels, _ = read_archive(args.archive, "test")
    chosen = evenly(args.samples, len(pixels))
    pictures = pixels.numpy()[chosen].transpose(0, 2, 3, 1)
    x = prepare_pictures(pictures, preparation)
    assert bundled.calibration is not None
    calibration = prepare_pictures(bundled.calibration, preparation)
    results = {}
    heading = ("weights", "accuracy", "counts changed", "spikes = dense", "numpy = dense")
    print(f"{heading[0]:>8} {heading[1]:>9} {heading[2]:>15} {heading[3]:>24} {heading[4]:>24}")
    for arithmetic in ARITHMETICS:
        images = None if arithmetic == "float32" else calibration
        graph = s2f_deploy.lower_content(
            bundled.reference, bundled.name, arithmetic, calibration=images
        )
        found = measure(graph, x, labels.numpy()[chosen], args.spikes, args.reference)
        results[arithmetic] = found
        columns = [
            f"{found[e]['same_class']}/{found[e]['images']}, bits {found[e]['same_bits']}"
            for e in ("events", "reference")
        ]
        changed = f"{found['counts_changed']:.1%}" if images is not None else ""
        print(
            f"{arithmetic:>8} {found['accuracy']:>9.2%} {changed:>15} "
            f"{columns[0]:>24} {columns[1]:>24}",
            flush=True,
        )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
