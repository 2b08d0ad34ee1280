"""Reproducible stand-in weights and inputs: the rule behind ``golden/e_spikeformer``.

Every tensor is drawn from a frozen random stream seeded by its own name, so a state dict can be
rebuilt from nothing but names and shapes.
"""

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Float64 = NDArray[np.float64]

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True, eq=False)
class GoldenNetwork:
    """A published network with golden weights, exported.

    Attributes:
        name: in the registry.
        record: what the official network gave: counts' digests, operations.
        arrays: its outputs.
        onnx: path of the float32 network.
        images: float32[1, C, H, W]: the recorded input, and two more.
    """

    name: str
    record: dict[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    onnx: Path
    images: tuple[NDArray[np.float32], ...]


def golden_tensor(name: str, shape: tuple[int, ...], gain: float) -> Float64:
    """The value of the parameter or buffer called ``name``.

    Kernels are normal with variance ``2 gain² / fan_in``, norm scales uniform in [0.8, 1.2],
    running variances uniform in [0.5, 1.5], other vectors normal with standard deviation 0.1.
    """
    stream = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return stream.uniform(0.5, 1.5, shape)
    if name.endswith("running_mean"):
        return stream.standard_normal(shape) * 0.1
    if len(shape) <= 1 and name.endswith("weight"):
        return stream.uniform(0.8, 1.2, shape)
    scale = 0.1 if len(shape) <= 1 else gain * math.sqrt(2.0 / math.prod(shape[1:]))
    return np.asarray(stream.standard_normal(shape) * scale, np.float64)


def golden_state_dict(
    shapes: Mapping[str, tuple[int, ...]], gain: float = 1.0
) -> dict[str, Tensor]:
    """float64 weights for all names; the counters of the norms are int64 zeros."""
    return {
        name: torch.tensor(0)
        if name.endswith("num_batches_tracked")
        else torch.from_numpy(golden_tensor(name, tuple(shape), gain))
        for name, shape in shapes.items()
    }


def fill_golden(model: nn.Module, gain: float = 1.0) -> None:
    """Put the golden weights into ``model``, which becomes a float64 network in eval mode."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.double().eval().load_state_dict(golden_state_dict(shapes, gain))


def golden_image(shape: tuple[int, ...], seed: int = 0) -> Float64:
    """A smooth input in about [-2, 2] with edges in it: a wave and a disc for each plane."""
    stream = np.random.RandomState(seed)
    *lead, height, width = shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = []
    for _ in range(math.prod(lead)):
        fy, fx = stream.uniform(0.5, 4.0), stream.uniform(0.5, 4.0)
        phase = stream.uniform(0, 2 * np.pi)
        wave = np.sin(2 * np.pi * (fy * y / height + fx * x / width) + phase)
        cy, cx = stream.uniform(0.2, 0.8) * height, stream.uniform(0.2, 0.8) * width
        radius = stream.uniform(0.1, 0.3) * min(height, width)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < radius * radius
        planes.append(wave + disc.astype(np.float64) - 0.2)
    return np.stack(planes).reshape(shape)


def read_golden(family: str, name: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The record of one reference run, and its arrays."""
    record: dict[str, Any] = json.loads((GOLDEN / family / f"{name}.json").read_text())
    with np.load(GOLDEN / family / f"{name}.npz") as arrays:
        return record, dict(arrays)
