"""The reference runs of the official SpikeYOLO code in ``golden/spike_yolo``."""

import hashlib
import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden_weights import GOLDEN, golden_image, golden_state_dict
from torch import Tensor

from s2f_models import SpikeYolo

FOLDER = GOLDEN / "spike_yolo"
BINS = "model.26.dfl.conv.weight"


def read_record(name: str) -> dict[str, Any]:
    """The record of one reference run."""
    record: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return record


@cache
def official_checkpoint() -> bytes:
    """A checkpoint as the official trainer saved it: width 0.0625, three classes, float16."""
    return lzma.decompress((FOLDER / "tiny_ultralytics.pt.xz").read_bytes())


def write_official_checkpoint(folder: Path) -> Path:
    """The checkpoint as a file; its name is not that of the folder inside."""
    path = folder / "tiny_ultralytics.pt"
    path.write_bytes(official_checkpoint())
    return path


def fill(model: SpikeYolo, gain: float) -> None:
    """Put the golden weights into ``model``, which becomes a float64 network in eval mode."""
    shapes = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    weights = golden_state_dict(shapes, gain)
    weights[BINS] = torch.arange(16.0, dtype=torch.float64).reshape(1, 16, 1, 1)
    model.load_state_dict(weights, assign=True)
    model.double().eval()


def recorded_input(record: dict[str, Any]) -> Tensor:
    """The image or the frames of events of a reference run, float64."""
    shape, seed = record["input"]["shape"], record["input"]["seed"]
    if len(shape) == 5:
        plane = golden_image((*shape[:2], 1, *shape[3:]), seed)
        level = np.where(plane > 0.6, 255.0, np.where(plane < -0.6, 0.0, 127.0))
        values = level.repeat(3, 2) / 255
    else:
        values = np.clip((golden_image(tuple(shape), seed) + 2) / 4, 0, 1)
    assert hashlib.sha256(values.tobytes()).hexdigest() == record["input"]["sha256_float64"]
    return torch.from_numpy(values)


def digests(counts: dict[str, Tensor], timesteps: int) -> list[list[object]]:
    """Path, shape with the time steps apart, and hash of what every neuron emitted."""
    return [
        [
            path,
            [timesteps, len(fired) // timesteps, *fired.shape[1:]],
            hashlib.sha256(fired.contiguous().numpy().tobytes()).hexdigest()[:32],
        ]
        for path, fired in counts.items()
    ]


def assert_predictions(pred: Tensor, record: dict[str, Any]) -> None:
    """The decoded predictions are the recorded ones, to 1e-9."""
    assert list(pred.shape) == record["pred_shape"]
    found = [pred[b, c, a].item() for b, c, a, _ in record["samples"]]
    np.testing.assert_allclose(found, [s[3] for s in record["samples"]], rtol=0, atol=1e-9)
    np.testing.assert_allclose(pred.sum().item(), record["pred_sum"], rtol=1e-13)
