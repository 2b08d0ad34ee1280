"""How good and how cheap is an answer after K timesteps? Accuracy and accumulations per K.

    python benchmarks/timesteps.py --archive cifar10_jpeg.zip --samples 500

Runs a classification artefact on test images ``test/<class>/<number>.jpg`` of a zip archive, takes
every image through ONNX Runtime too (integer weights: the deployed network), and prints one row per
K. ``--engine reference`` is the dense one. Samples are spread evenly over the archive.
"""

import argparse
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

import s2f_deploy
from s2f_sim import Simulator
from s2f_sim.preparation import Preparation, read_preparation


def read_samples(
    archive: Path, samples: int, preparation: Preparation
) -> tuple[NDArray[np.float32], list[str], NDArray[np.int64]]:
    """float32[N, 3, S, S], class names in archive order, and int[N] labels."""
    with zipfile.ZipFile(archive) as members:
        names = sorted(n for n in members.namelist() if n.startswith("test/"))
        classes = sorted({name.split("/")[1] for name in names})
        chosen = [names[i * len(names) // samples] for i in range(samples)]
        images = [
            preparation.prepare(Image.open(io.BytesIO(members.read(n))).convert("RGB"))
            for n in chosen
        ]
    labels = np.array([classes.index(name.split("/")[1]) for name in chosen])
    return np.concatenate(images), classes, labels


def main() -> None:
    """Print the table; write it as JSON on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--engine", choices=["events", "reference"], default="events")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = args.model or Path(s2f_deploy.__file__).parents[1] / (
        "cli/s2f_cli/bundled/e_spikeformer_cifar10.s2f"
    )
    graph = s2f_deploy.load(model)
    preparation = read_preparation(graph.metadata["preprocessing"], where=str(model))
    images, classes, labels = read_samples(args.archive, args.samples, preparation)
    assert classes == list(graph.metadata["classes"]), "the archive has other classes"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.deployed or graph.reference, options)
    (image,) = session.get_inputs()
    answers = [session.run(None, {image.name: x[None]})[0].argmax() for x in images]
    predicted = np.array(answers)
    simulator = Simulator(graph, args.engine, args.threads)
    rows = []
    print(f"{len(images)} images; ONNX Runtime: {(predicted == labels).mean():.2%}")
    print(f"{'K':>3} {'accuracy':>9} {'as ONNX Runtime':>16} {'spikes':>12} {'AC':>14} {'ms':>7}")
    for timesteps in range(1, simulator.levels + 1):
        answers, spikes, ac, seconds = [], 0, 0, 0.0
        for x in images:
            run = simulator.run(x[None], timesteps)
            answers.append(int(run.outputs["logits"].argmax()))
            spikes += sum(layer.spikes for layer in run.layers if layer.kind == "neuron")
            ac += sum(layer.ac for layer in run.layers)
            seconds += run.seconds
        row = {
            "timesteps": timesteps,
            "accuracy": float((np.array(answers) == labels).mean()),
            "agreement": float((np.array(answers) == predicted).mean()),
            "spikes_per_image": spikes / len(images),
            "ac_per_image": ac / len(images),
            "ms_per_image": 1e3 * seconds / len(images),
        }
        rows.append(row)
        print(
            f"{timesteps:>3} {row['accuracy']:>9.2%} {row['agreement']:>16.2%} "
            f"{row['spikes_per_image']:>12,.0f} {row['ac_per_image']:>14,.0f} "
            f"{row['ms_per_image']:>7.1f}"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
