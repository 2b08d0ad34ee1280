"""From a checkpoint, as the published training code saves it, to a network ready to run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2f_models.architecture import infer_config, match_entries, with_classes
from s2f_models.deformable_sampling import MAX_BITS
from s2f_models.description import (
    MAX_LEVELS,
    MAX_TIMESTEPS,
    Description,
    Preprocessing,
    check_classes,
    read_recipe,
)
from s2f_models.entry_shapes import CUSTOM
from s2f_models.errors import ModelError
from s2f_models.mmengine_file import read_mmengine
from s2f_models.registry import Config, Network, adapt, find_config
from s2f_models.segmentation_classes import Colour, data_set_of
from s2f_models.spike2former import Spike2FormerConfig
from s2f_models.spike2former_shapes import renamed, with_named
from s2f_models.stand_in import RefusedError
from s2f_models.state_dict import StateDict, bare_name, find_state_dict
from s2f_models.stored_tensor import StoredTensor
from s2f_models.torch_file import TorchFile, read_torch_file, refusing
from s2f_models.ultralytics_file import describe

_HALF_PRECISION = (torch.float16, torch.bfloat16)
_FLOATS = (*_HALF_PRECISION, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """What a checkpoint is, besides its weights.

    Attributes:
        arch: name in the registry, or ``"custom"`` for widths and depths it does not have.
        config: everything that fixes the network.
        D: largest count of every neuron.
        D_assumed: whether neither the caller nor the file said so.
        T: real time steps.
        container: keys that lead to the weights (``"model"``, ``"model_ema.module"``); empty
            for a bare state dict.
        notices: what was assumed or left out, one sentence each.
        sha256: of the file, in hexadecimal.
        classes: names of the outputs, if the file has them or they are those of a published
            segmentation data set.
        palette: the colour of each, if that is known, too.
        preprocessing: what training did to an image, if the file says so; scalars and lists.
        calibration: pictures to choose integer weights by, uint8[N, H, W, 3], if the file has any.
        image_size: side of the training images in pixels, if a detector's file says so.
    """

    arch: str
    config: Config
    D: int
    D_assumed: bool
    T: int
    container: str
    notices: tuple[str, ...]
    sha256: str
    classes: tuple[str, ...] | None
    palette: tuple[Colour, ...] | None
    preprocessing: Preprocessing | None
    calibration: NDArray[np.uint8] | None
    image_size: int | None


def load_checkpoint(
    path: str | Path,
    arch: str | None = None,
    D: int | None = None,
    T: int | None = None,
    *,
    norm: int | None = None,
    offset_bits: int | None = None,
) -> tuple[Network, CheckpointInfo]:
    """Load a checkpoint without running anything in it.

    Weights are taken from ``model``, else ``state_dict``, else ``model_ema``, else the file
    itself is a state dict; ``module.``, ``backbone.`` and ``model.`` before names are dropped.
    Of a file with whole detectors ``ema`` is taken, else ``model``. Half precision weights
    become float32; if any weight is float64, the network is in float64.

    Args:
        path: a ``.pth`` or ``.pt`` file.
        arch: a name of ``list_models()``; default what the file says, else inferred.
        D: largest count of every neuron; default what the file says, else the published one.
        T: real time steps; default what the file says, else the published ones.
        norm: divisor of every count of a Spike2Former; default ``D``.
        offset_bits: fraction bits that a Spike2Former's sampling offsets are rounded to; 0, the
            default, takes them as they are.

    Returns:
        The network in evaluation mode, and what the file is.

    Raises:
        CheckpointError: a file that cannot be read, or whose weights do not fit, or which does
            not say what only training knows.
        ModelError: no network called ``arch``, or an argument that is impossible or that the
            network does not have.
    """
    path = Path(path)
    _check_argument("D", D, 1, MAX_LEVELS)
    _check_argument("T", T, 1, MAX_TIMESTEPS)
    _check_argument("norm", norm, 1, MAX_LEVELS)
    _check_argument("offset_bits", offset_bits, 0, MAX_BITS)
    given = _Arguments(arch, D, T, {"norm": norm, "offset_bits": offset_bits})
    file = read_torch_file(path)
    with refusing(path):
        weights = find_state_dict(file.root)
        weights = replace(weights, tensors=renamed(weights.tensors))
        info = _describe(file, weights, given)
        model = match_entries(info.config, weights.shapes)
        model.load_state_dict(_values(model, weights.tensors), assign=True)
    return model.eval(), info


@dataclass(frozen=True, slots=True)
class _Arguments:
    """What the caller says of a network; ``None`` where nothing."""

    arch: str | None
    D: int | None
    T: int | None
    others: Mapping[str, int | None]


def _check_argument(name: str, given: int | None, least: int, most: int) -> None:
    if given is not None and not least <= given <= most:
        raise ModelError(
            f"{name} is {given}", where=f"the argument {name}", fix=f"give {least} to {most}"
        )


def _read_description(file: TorchFile, weights: StateDict) -> Description:
    if weights.module:
        return describe(weights.module, file.root)
    return read_mmengine(file.root) or read_recipe(file.root)


def _describe(file: TorchFile, weights: StateDict, given: _Arguments) -> CheckpointInfo:
    said = _read_description(file, weights)
    levels, timesteps = given.D or said.levels, given.T or said.timesteps
    if levels is None and said.must_give_levels:
        raise RefusedError(
            "a Gen1 network's D, the largest count of its neurons, is not in its file",
            "pass D (--levels on the command line); the published one was trained with 4",
        )
    chosen, config, notices = _choose(weights.shapes, said, given.arch)
    changes = {"levels": levels, "timesteps": timesteps, **given.others}
    try:
        config = adapt(chosen, config, {k: v for k, v in changes.items() if v is not None})
    except ModelError as error:
        if given.T is not None or error.where != "the argument T":
            raise
        raise RefusedError(f"the file's 'T': {error.what}", "remove the key") from None
    classes, palette, source = _names(said, config)
    return CheckpointInfo(
        arch=chosen,
        config=config,
        D=config.levels,
        D_assumed=levels is None,
        T=config.timesteps,
        container=weights.container,
        notices=(*notices, *source, *_notices(weights, config, levels, timesteps)),
        sha256=file.sha256,
        classes=classes,
        palette=palette,
        preprocessing=said.preprocessing,
        calibration=said.calibration,
        image_size=said.image_size,
    )


def _names(
    said: Description, config: Config
) -> tuple[tuple[str, ...] | None, tuple[Colour, ...] | None, tuple[str, ...]]:
    """Classes and colours, the file's, else a data set's with as many classes; and a notice."""
    if not isinstance(config, Spike2FormerConfig):
        return check_classes(said.classes, config.num_classes), None, ()
    classes = check_classes(said.classes, config.named_classes)
    known = data_set_of(config.named_classes)
    if said.palette is not None and len(said.palette) != config.named_classes:
        raise RefusedError(
            f"the file's 'palette' has {len(said.palette)} colours for {config.named_classes} "
            "classes",
            "remove it",
        )
    if known is None:
        return classes, said.palette, ()
    palette = said.palette or known.palette
    if classes is not None:
        return classes, palette, ()
    return known.classes, palette, (f"the file names no classes; those of {known.name} assumed",)


def _choose(
    shapes: Mapping[str, tuple[int, ...]], said: Description, arch: str | None
) -> tuple[str, Config, tuple[str, ...]]:
    """Who was trained: what the caller says, else the file's layers, its word, its shapes."""
    if arch is None and said.config is not None:
        return said.arch or CUSTOM, with_classes(said.config, shapes), ()
    name = arch or said.arch
    named = (len(said.classes) or None) if isinstance(said.classes, list | tuple) else None
    if name is None:
        return infer_config(shapes, named)
    config = with_classes(find_config(name), shapes)
    if isinstance(config, Spike2FormerConfig):
        config = with_named(config, named)
    return name, config, ()


def _values(model: Network, stored: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """All entries of the network's state dict, in one floating point type."""
    dtypes = {tensor.storage.dtype for tensor in stored.values()}
    dtype = torch.float64 if torch.float64 in dtypes else torch.float32
    values: dict[str, Tensor] = {}
    for name, slot in model.state_dict().items():
        bare = bare_name(name)
        if slot.is_floating_point():
            values[name] = _weight(bare, stored[bare], dtype)
        else:
            values[name] = torch.zeros((), dtype=slot.dtype)
            if bare in stored:
                values[name].copy_(stored[bare].read())
    return values


def _weight(name: str, stored: StoredTensor, dtype: torch.dtype) -> Tensor:
    if stored.storage.dtype not in _FLOATS:
        raise RefusedError(
            f"{name} holds {stored.storage.dtype} values, expected floating point",
            "save the network before it was quantised",
        )
    values = stored.read().to(dtype).contiguous()
    if not values.isfinite().all():
        raise RefusedError(
            f"{name} has values that are not finite",
            "take a checkpoint from before it diverged",
        )
    return values


def _notices(
    weights: StateDict, config: Config, levels: int | None, timesteps: int | None
) -> list[str]:
    notices: list[str] = []
    if levels is None:
        notices.append(
            f"the file does not say D; {config.levels} assumed: pass D (--levels on the "
            "command line) if it was trained with another"
        )
    if timesteps is None and config.timesteps > 1:
        notices.append(
            f"the file does not say T; {config.timesteps} time steps assumed: pass T if it was "
            "trained with another number"
        )
    notices.extend(f"the weights under {name!r} were left out" for name in weights.unused)
    dtypes = {tensor.storage.dtype for tensor in weights.tensors.values()}
    notices.extend(
        f"the weights are {str(half).removeprefix('torch.')} in the file and were widened"
        for half in _HALF_PRECISION
        if half in dtypes
    )
    return notices
