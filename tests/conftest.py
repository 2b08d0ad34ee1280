"""Settings and the one exported network that the whole test run shares."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import GoldenNetwork, fill_golden, golden_image, read_golden
from hypothesis import settings
from numpy.typing import NDArray

import s2f_deploy
import s2f_models
from s2f_deploy.ir.graph import Graph

# The first call of a kernel compiles it: no per-example deadline.
settings.register_profile("s2f", deadline=None, derandomize=True)
settings.load_profile("s2f")

CLASSES = ["cat", "dog", "frog"]
PREPROCESSING = {
    "resize": 32,
    "crop": 32,
    "interpolation": "bicubic",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
}


@pytest.fixture(scope="session")
def tiny_model() -> torch.nn.Module:
    """An untrained E-SpikeFormer with statistics that let its neurons fire."""
    torch.manual_seed(0)
    model = s2f_models.create(
        "e_spikeformer_cifar10",
        embed_dims=(8, 8, 8, 16),
        depths=(1, 1),
        num_heads=2,
        num_classes=3,
    ).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.05, 0.2)
            torch.nn.init.normal_(module.bias, 0.3, 0.3)
    return model


@pytest.fixture(scope="session")
def tiny_onnx(tiny_model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as ONNX; tracing takes seconds, so it happens once."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    s2f_deploy.export_onnx(tiny_model, (1, 3, 32, 32), path)
    return path


@pytest.fixture(scope="session")
def golden_network(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], GoldenNetwork]:
    """A published network with golden weights; exported once, as that takes half a minute."""

    @cache
    def export(name: str, golden: str) -> GoldenNetwork:
        record, arrays = read_golden("e_spikeformer", golden)
        model = s2f_models.create(name)
        fill_golden(model, record["gain"])
        shape, seed = tuple(record["input"]["shape"]), record["input"]["seed"]
        path = tmp_path_factory.mktemp(golden) / "net.onnx"
        s2f_deploy.export_onnx(model.float(), shape, path)
        images = tuple(golden_image(shape, seed + i).astype(np.float32) for i in range(3))
        return GoldenNetwork(name, record, arrays, path, images)

    return export


@pytest.fixture(scope="session")
def tiny_graph(tiny_onnx: Path) -> Graph:
    """The network at EVENT level, with everything an artefact carries."""
    metadata = {
        "task": "classification",
        "classes": CLASSES,
        "preprocessing": PREPROCESSING,
        "source": {"file": "tiny.pth", "sha256": "0" * 64},
        "arithmetic": "float32",
        "notices": [],
    }
    graph = s2f_deploy.lower(tiny_onnx)
    return replace(graph, metadata=metadata)


@pytest.fixture(scope="session")
def tiny_artefact(tiny_graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the saved network."""
    path = tmp_path_factory.mktemp("artefact") / "tiny.s2f"
    s2f_deploy.save(tiny_graph, path)
    return path


@pytest.fixture(scope="session")
def tiny_integers(tiny_graph: Graph, images: NDArray[np.float32]) -> Graph:
    """The network with int8 weights, chosen by two images."""
    graph = s2f_deploy.lower_content(
        tiny_graph.reference, tiny_graph.name, "int8", calibration=images[:2]
    )
    metadata = {**tiny_graph.metadata, **graph.metadata, "arithmetic": "int8"}
    pictures = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    return replace(graph, metadata=metadata, calibration=pictures)


@pytest.fixture(scope="session")
def integer_artefact(tiny_integers: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the saved network with int8 weights."""
    path = tmp_path_factory.mktemp("integers") / "tiny8.s2f"
    s2f_deploy.save(tiny_integers, path)
    return path


@pytest.fixture(scope="session")
def images() -> NDArray[np.float32]:
    """float32[3, 3, 32, 32]: inputs with the statistics of normalised photographs."""
    return np.random.default_rng(7).standard_normal((3, 3, 32, 32)).astype(np.float32)
