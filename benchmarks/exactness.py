"""Do spikes with integer weights equal ONNX Runtime on every count and every bit of the output?

    python benchmarks/exactness.py --archive cifar10_jpeg.zip

The bundled network on ``--samples`` CIFAR-10 test images, and E-SpikeFormer m at 224x224 with the
golden weights of the tests on three inputs; int8 and int16, both engines, one and two threads. Ends
with status 1 if anything differs. The certificates of all runs of one network must agree.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import s2f_deploy
import s2f_models
from s2f_cli.bundled import DEFAULT
from s2f_deploy.passes.pipeline import Arithmetic
from s2f_models.train_cifar10 import read_archive
from s2f_sim import DeployedReport, verify
from s2f_sim.preparation import prepare_pictures, read_preparation

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from golden_weights import fill_golden, golden_image, read_golden

Array = NDArray[np.float32]
ARITHMETICS: tuple[Arithmetic, ...] = ("int8", "int16")
RUNS: tuple[dict[str, Any], ...] = (
    {"engine": "events", "threads": 1},
    {"engine": "events", "threads": 2},
    {"engine": "reference", "threads": 1},
)


def bundled(archive: Path, samples: int) -> tuple[bytes, Array, list[Array]]:
    """The bundled float network, its calibration images, and test images of all classes."""
    graph = s2f_deploy.load(DEFAULT.artefact)
    preparation = read_preparation(graph.metadata["preprocessing"], where="artefact")
    assert graph.calibration is not None
    calibration = prepare_pictures(graph.calibration, preparation)
    pixels, _, _ = read_archive(archive, "test")
    chosen = pixels.numpy()[np.arange(samples) * len(pixels) // samples].transpose(0, 2, 3, 1)
    images = prepare_pictures(chosen, preparation)
    return graph.reference, calibration, list(images[:, None])


def golden() -> tuple[bytes, Array, list[Array]]:
    """E-SpikeFormer m, the golden input as its calibration image, and three inputs."""
    record, _ = read_golden("e_spikeformer", "base_m_224")
    model = s2f_models.create("e_spikeformer_m")
    fill_golden(model, record["gain"])
    shape, seed = tuple(record["input"]["shape"]), record["input"]["seed"]
    images = [golden_image(shape, seed + i).astype(np.float32) for i in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        s2f_deploy.export_onnx(model.float(), shape, path)
        return path.read_bytes(), images[0], images


def compare(name: str, onnx: bytes, calibration: Array, images: list[Array]) -> bool:
    """Print one row per run; whether nothing differs anywhere."""
    equal = True
    for arithmetic in ARITHMETICS:
        began = time.perf_counter()
        graph = s2f_deploy.lower_content(onnx, name, arithmetic, calibration=calibration)
        lowering = time.perf_counter() - began
        first = None
        for options in RUNS:
            began = time.perf_counter()
            report = verify(graph, images, **options)
            seconds = time.perf_counter() - began
            assert isinstance(report, DeployedReport)
            first = first or report.certificate
            repeated = not report.certificate.differences(first)
            equal &= report.equivalent and repeated
            print(
                f"{name:>22} {arithmetic:>6} {options['engine']:>10} {options['threads']:>8} "
                f"{report.samples:>7} {report.neurons:>13,} {report.mismatches:>7} "
                f"{'yes' if repeated else 'NO':>9} {len(report.wide_layers):>5} "
                f"{report.changed / report.neurons:>8.2%} {lowering:>9.1f} {seconds:>8.1f}",
                flush=True,
            )
    return equal


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--only", choices=["bundled", "m"])
    args = parser.parse_args(arguments)
    print(
        f"{'network':>22} {'':>6} {'engine':>10} {'threads':>8} {'samples':>7} {'neurons':>13} "
        f"{'differ':>7} {'repeated':>9} {'split':>5} {'changed':>8} {'lower s':>9} {'verify s':>8}"
    )
    equal = True
    if args.only != "m":
        equal &= compare("bundled", *bundled(args.archive, args.samples))
    if args.only != "bundled":
        equal &= compare("e_spikeformer_m", *golden())
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
