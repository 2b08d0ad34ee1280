"""The float network inside any file that ``s2f export`` takes."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

import s2f_deploy
from s2f_deploy.errors import InputError
from s2f_deploy.frontend.import_onnx import read_model
from s2f_sim.answer import DETECTION
from s2f_sim.camera_frames import GEN1_SIDE, GEN1_WINDOW_US
from s2f_sim.centre_crop import CentreCrop
from s2f_sim.event_frames import POLARITY, EventFrames
from s2f_sim.letterbox import SIDE, STRIDE
from s2f_sim.preparation import Preparation, read_preparation
from s2f_sim.usual_preparation import usual_preparation, usual_task
from s2f_sim.whole_picture import WholePicture

if TYPE_CHECKING:
    from s2f_models import CheckpointInfo

DEFAULT_SIDE = 224
Plane = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user says about a checkpoint; None where the file decides.

    Attributes:
        arch: name of the network.
        levels: ``D``.
        steps: real timesteps, ``T``.
        size: height and width of the input in pixels.
        resize: short side before cropping.
        task: one of ``TASKS``.
    """

    arch: str | None = None
    levels: int | None = None
    steps: int | None = None
    size: Plane | None = None
    resize: int | None = None
    task: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class FloatNetwork:
    """What is exported: a float network and what is known about it.

    Attributes:
        name: of the artefact's graph.
        onnx: the network.
        metadata: what travels with it.
        preparation: how files become its input.
        pictures: to choose integer weights by, uint8[N, H, W, 3], if it came with any.
    """

    name: str
    onnx: bytes
    metadata: Mapping[str, Any]
    preparation: Preparation
    pictures: NDArray[np.uint8] | None = None


def read_network(path: Path, wishes: Wishes) -> FloatNetwork:
    """Read a checkpoint, an ONNX file or an artefact.

    Raises:
        S2FError: the file is damaged, or no network can be made of it.
        ModelError: as ``s2f_models.load_checkpoint``.
        click.UsageError: a wish for what the file fixes.
    """
    fixed = (wishes.arch, wishes.levels, wishes.steps, wishes.size)
    if path.suffix in (".onnx", ".s2f") and any(fixed):
        raise click.UsageError(
            "this file fixes what --arch, --levels, --steps and --size would say"
        )
    if path.suffix == ".onnx":
        return _of_onnx(path, wishes)
    if path.suffix == ".s2f":
        return _of_artefact(path, wishes)
    return _of_checkpoint(path, wishes)


def _name(path: Path) -> str:
    return "".join(path.stem.split()) or "network"


def _of_onnx(path: Path, wishes: Wishes) -> FloatNetwork:
    content = read_model(path)
    task, preparation = _by_shape(content, wishes.task, str(path))
    metadata = {"task": task, "source": {"file": path.name}, "notices": []}
    return FloatNetwork(_name(path), content, metadata, _resized(preparation, wishes.resize))


def _by_shape(content: bytes, task: str | None, where: str) -> tuple[str, Preparation]:
    """Task and preparation of a network that says nothing of either."""
    from s2f_deploy.frontend.import_onnx import import_onnx  # noqa: PLC0415

    graph = import_onnx(content, "network")
    taken = next(graph.select("input")).output
    task = task or usual_task(next(graph.select("output")).output.shape)
    return task, usual_preparation(task, taken.shape, taken.steps, where=where)


def _of_artefact(path: Path, wishes: Wishes) -> FloatNetwork:
    graph = s2f_deploy.load(path)
    metadata = {k: v for k, v in graph.metadata.items() if k != "quantisation"}
    metadata.setdefault("notices", [])
    stored = metadata.get("preprocessing")
    if stored is None:
        task, preparation = _by_shape(graph.reference, metadata.get("task"), str(path))
        metadata.setdefault("task", task)
    else:
        preparation = read_preparation(stored, where=str(path))
    preparation = _resized(preparation, wishes.resize)
    return FloatNetwork(graph.name, graph.reference, metadata, preparation, graph.calibration)


def _of_checkpoint(path: Path, wishes: Wishes) -> FloatNetwork:
    import s2f_models  # noqa: PLC0415 (torch takes seconds, and ONNX files need none)

    model, info = s2f_models.load_checkpoint(
        path, arch=wishes.arch, D=wishes.levels, T=wishes.steps
    )
    preparation = _resized(_of_training(info, wishes.size, str(path)), wishes.resize)
    shape = info.config.input_shape(*_plane(preparation))
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "network.onnx"
        output = "detections" if info.config.task == DETECTION else "logits"
        s2f_deploy.export_onnx(model.float(), shape, onnx, output)
        content = onnx.read_bytes()
    metadata = {
        "task": info.config.task,
        "source": {"file": path.name, "sha256": info.sha256},
        "arch": info.arch,
        "notices": list(info.notices),
        **({"classes": list(info.classes)} if info.classes else {}),
    }
    return FloatNetwork(_name(path), content, metadata, preparation, info.calibration)


def _of_training(info: "CheckpointInfo", size: Plane | None, where: str) -> Preparation:
    """How the network was fed in training, as its file says it, at the size that is wanted."""
    if not info.preprocessing:
        return _published(info, size, where)
    stored = read_preparation(info.preprocessing, where=where)
    if size is None or size == _plane(stored):
        return stored
    if isinstance(stored, WholePicture):
        height, width = _divisible(size)
        return replace(stored, height=height, width=width)
    if isinstance(stored, CentreCrop):
        return replace(CentreCrop.imagenet(_square(size)), mean=stored.mean, std=stored.std)
    raise InputError(
        "the size of the input is that of the event camera", where=where, fix="leave --size out"
    )


def _published(info: "CheckpointInfo", size: Plane | None, where: str) -> Preparation:
    """How the published code feeds a network."""
    config = info.config
    if config.task != DETECTION:
        return CentreCrop.imagenet(_square(size or (DEFAULT_SIDE, DEFAULT_SIDE)))
    framed = len(config.input_shape(STRIDE, STRIDE)) > 4  # noqa: PLR2004 (timesteps come in frames)
    side = info.image_size or (GEN1_SIDE if framed else SIDE)
    height, width = _divisible(size or (side, side))
    if not framed:
        return WholePicture(height, width)
    if height != width:
        raise InputError(
            "the frames of this network are fitted into a square", where=where, fix="--size 320"
        )
    return EventFrames(POLARITY, info.T, GEN1_WINDOW_US, (width, height))


def _plane(preparation: Preparation) -> Plane:
    match preparation:
        case CentreCrop(crop=side):
            return side, side
        case WholePicture(height=height, width=width):
            return height, width
        case EventFrames(sensor=(width, height)):
            return height, width


def _square(size: Plane) -> int:
    if size[0] != size[1]:
        raise click.UsageError("--size: a classifier takes squares")
    return size[0]


def _divisible(size: Plane) -> Plane:
    if any(side % STRIDE for side in size):
        raise click.UsageError(f"--size: a detector takes multiples of {STRIDE} pixels")
    return size


def _resized(preparation: Preparation, resize: int | None) -> Preparation:
    if resize is None:
        return preparation
    if not isinstance(preparation, CentreCrop):
        raise click.UsageError("--resize is for networks that see the centre of a photograph")
    if resize < preparation.crop:
        raise InputError(
            f"a crop of {preparation.crop} does not fit a short side of {resize}",
            where="--resize",
            fix="give a larger --resize, or a smaller --size",
        )
    return replace(preparation, resize=resize)
