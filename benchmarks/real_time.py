"""Real timesteps: are T = 4 networks exact when membranes remember?

    python benchmarks/real_time.py

Narrow SpikeYOLO networks of both kinds (COCO's neuron: leak 1/4; Gen1's: leak 1/2 and halved
input), random weights, int8 and int16: every count of both engines against ONNX Runtime's run of
the deployed network, on two random inputs.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import s2f_deploy
import s2f_models
import s2f_sim
from s2f_sim import Simulator

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from deployed_runs import differences, run_deployed
from golden_weights import fill_golden

SIDE, GAIN = 64, 2.0
NETWORKS: dict[str, dict[str, Any]] = {
    "spike_yolo_n": {"num_classes": 5, "T": 4, "width": 0.125},
    "spike_yolo_gen1_n": {"T": 4, "width": 0.125},
}
ENGINES = (("events", 1), ("events", 2), ("reference", 1))


def main() -> None:
    """Print a line for each network and width of its weights."""
    for name, changed in NETWORKS.items():
        model: Any = s2f_models.create(name, **changed)
        fill_golden(model, GAIN)
        model = model.float().eval()
        shape = model.config.input_shape(SIDE, SIDE)
        rng = np.random.default_rng(0)
        inputs = [rng.random(shape, np.float32) for _ in range(2)]
        with tempfile.TemporaryDirectory() as folder:
            onnx = Path(folder) / "network.onnx"
            s2f_deploy.export_onnx(model, shape, onnx, "detections")
            for arithmetic in ("int8", "int16"):
                graph = s2f_deploy.lower(onnx, arithmetic, calibration=inputs[0])
                compare(name, arithmetic, graph, inputs)


def compare(name: str, arithmetic: str, graph: s2f_deploy.Graph, inputs: list[Any]) -> None:
    """Run everything, count what differs."""
    compared, wrong, changing = 0, 0, []
    for x in inputs:
        deployed = run_deployed(graph, x, optimised=True)
        for engine, threads in ENGINES:
            run = Simulator(graph, engine, threads).run(x)
            wrong += len(differences(run, deployed))
            compared += sum(counts.size for counts in run.counts.values())
            changing += [(c[0, 1:] != c[0, :1]).mean() for c in run.counts.values()]
    proved = s2f_sim.verify(graph, inputs)
    print(
        f"{name} {arithmetic} {list(inputs[0].shape)}: {compared:,} counts compared, {wrong} "
        f"layers or outputs differ; verify: {proved.mismatches} of {proved.neurons:,}; "
        f"{np.mean(changing):.0%} of the counts change in time",
        flush=True,
    )


if __name__ == "__main__":
    main()
