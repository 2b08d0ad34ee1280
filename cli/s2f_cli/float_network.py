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
from s2f_sim.answer import DETECTION, SEGMENTATION
from s2f_sim.camera_frames import GEN1_SIDE, GEN1_WINDOW_US
from s2f_sim.centre_crop import CentreCrop
from s2f_sim.event_frames import POLARITY, EventFrames
from s2f_sim.fitted_picture import FittedPicture
from s2f_sim.letterbox import SIDE, STRIDE
from s2f_sim.preparation import Preparation, read_preparation
from s2f_sim.usual_preparation import usual_preparation, usual_task
from s2f_sim.whole_picture import WholePicture

if TYPE_CHECKING:
    from s2f_models import CheckpointInfo
    from s2f_models.registry import Config, Network
    from s2f_models.segmentation import PixelClassifier

DEFAULT_SIDE = 224
# By the number of classes, for the data set that is known by it, and of others.
SEGMENTED_PLANES = {19: (512, 1024)}
SEGMENTED_PLANE = 512, 512
# The smallest map of a segmentation network, and of its enlarged ones every one is twofold.
SEGMENTED_STRIDE = 16
# Of offsets between pixels, where the network has them as they are and integers need a grid.
OFFSET_BITS = 8
OUTPUTS = {DETECTION: "detections", SEGMENTATION: "scores"}
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
        norm: divisor of every count.
        offset_bits: fraction bits of learned offsets between pixels; 0 for as they are.
        integers: whether weights become integers, which need such offsets on a grid.
    """

    arch: str | None = None
    levels: int | None = None
    steps: int | None = None
    size: Plane | None = None
    resize: int | None = None
    task: str | None = None
    norm: int | None = None
    offset_bits: int | None = None
    integers: bool = False


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
    fixed = (wishes.arch, wishes.levels, wishes.steps, wishes.size, wishes.norm, wishes.offset_bits)
    if path.suffix in (".onnx", ".s2f") and any(wish is not None for wish in fixed):
        raise click.UsageError(
            "this file fixes what --arch, --levels, --steps, --size, --norm and --offset-bits "
            "would say"
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
        path,
        arch=wishes.arch,
        D=wishes.levels,
        T=wishes.steps,
        norm=wishes.norm,
        offset_bits=wishes.offset_bits,
    )
    model, notices = _on_grid(model, info.config, wishes)
    preparation = _resized(_of_training(info, wishes.size, str(path)), wishes.resize)
    shape = info.config.input_shape(*_plane(preparation))
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "network.onnx"
        output = OUTPUTS.get(info.config.task, "logits")
        s2f_deploy.export_onnx(_answering(model.float()), shape, onnx, output)
        content = onnx.read_bytes()
    metadata = {
        "task": info.config.task,
        "source": {"file": path.name, "sha256": info.sha256},
        "arch": info.arch,
        "notices": [*info.notices, *notices],
        **({"classes": list(info.classes)} if info.classes else {}),
        **({"palette": [list(colour) for colour in info.palette]} if info.palette else {}),
    }
    return FloatNetwork(_name(path), content, metadata, preparation, info.calibration)


def _on_grid(model: "Network", config: "Config", wishes: Wishes) -> tuple["Network", list[str]]:
    """The network with offsets that integers can express, and what that changes."""
    from s2f_models import Spike2FormerConfig  # noqa: PLC0415

    exact = isinstance(config, Spike2FormerConfig) and not config.offset_bits
    if not exact or not wishes.integers or wishes.offset_bits is not None:
        return model, []
    assert isinstance(config, Spike2FormerConfig)
    rounded = replace(config, offset_bits=OFFSET_BITS).build().eval()
    rounded.load_state_dict(model.state_dict(), assign=True)
    notice = (
        "integers need a grid for the learned offsets between pixels, which the checkpoint's "
        f"network has none for: they are rounded to {OFFSET_BITS} fraction bits (--offset-bits), "
        "which changed 0.04 % of the counts behind the first sampling where it was measured; the "
        "float network in the artefact rounds them, too"
    )
    return rounded, [notice]


def _answering(model: "Network") -> "Network | PixelClassifier":
    """The network up to what its task asks for."""
    from s2f_models import Spike2Former  # noqa: PLC0415
    from s2f_models.segmentation import PixelClassifier  # noqa: PLC0415

    return PixelClassifier(model) if isinstance(model, Spike2Former) else model


def _of_training(info: "CheckpointInfo", size: Plane | None, where: str) -> Preparation:
    """How the network was fed in training, as its file says it, at the size that is wanted."""
    if not info.preprocessing:
        return _published(info, size, where)
    stored = read_preparation(info.preprocessing, where=where)
    if size is None or size == _plane(stored):
        return stored
    if isinstance(stored, WholePicture):
        height, width = _divisible(size, STRIDE)
        return replace(stored, height=height, width=width)
    if isinstance(stored, FittedPicture):
        height, width = _divisible(size, SEGMENTED_STRIDE)
        return replace(stored, height=height, width=width)
    if isinstance(stored, CentreCrop):
        return replace(CentreCrop.imagenet(_square(size)), mean=stored.mean, std=stored.std)
    raise InputError(
        "the size of the input is that of the event camera", where=where, fix="leave --size out"
    )


def _published(info: "CheckpointInfo", size: Plane | None, where: str) -> Preparation:
    """How the published code feeds a network."""
    config = info.config
    if config.task == SEGMENTATION:
        usual = SEGMENTED_PLANES.get(config.num_classes, SEGMENTED_PLANE)
        return FittedPicture.imagenet(*_divisible(size or usual, SEGMENTED_STRIDE))
    if config.task != DETECTION:
        return CentreCrop.imagenet(_square(size or (DEFAULT_SIDE, DEFAULT_SIDE)))
    framed = len(config.input_shape(STRIDE, STRIDE)) > 4  # noqa: PLR2004 (timesteps come in frames)
    side = info.image_size or (GEN1_SIDE if framed else SIDE)
    height, width = _divisible(size or (side, side), STRIDE)
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
        case WholePicture(height=height, width=width) | FittedPicture(height=height, width=width):
            return height, width
        case EventFrames(sensor=(width, height)):
            return height, width


def _square(size: Plane) -> int:
    if size[0] != size[1]:
        raise click.UsageError("--size: a classifier takes squares")
    return size[0]


def _divisible(size: Plane, stride: int) -> Plane:
    if any(side % stride for side in size):
        raise click.UsageError(f"--size: this network takes multiples of {stride} pixels")
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
