"""From a checkpoint, as the published training code saves it, to a network ready to run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2f_models.architecture import class_count, infer_config, match_entries
from s2f_models.e_spikeformer import ESpikeFormer, ESpikeFormerConfig
from s2f_models.errors import ModelError, shown
from s2f_models.registry import find_config
from s2f_models.stand_in import RefusedError
from s2f_models.state_dict import StateDict, find_state_dict
from s2f_models.stored_tensor import StoredTensor
from s2f_models.torch_file import TorchFile, read_torch_file, refusing

Scalar = str | int | float | bool | None
_HALF_PRECISION = (torch.float16, torch.bfloat16)
_FLOATS = (*_HALF_PRECISION, torch.float32, torch.float64)
_MAX_LEVELS = 255
_MAX_LISTED = 256
_PICTURES_RANK, _COLOURS = 4, 3
_RECIPE_FIX = "write it as s2f_models.train_cifar10 does, or remove the key"


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """What a checkpoint is, besides its weights.

    Attributes:
        arch: name in the registry, or ``"custom"`` for widths and depths it does not have.
        config: everything that fixes the network.
        D: largest count of every neuron.
        D_assumed: whether neither the caller nor the file said so.
        container: keys that lead to the weights (``"model"``, ``"model_ema.module"``); empty
            for a bare state dict.
        notices: what was assumed or left out, one sentence each.
        sha256: of the file, in hexadecimal.
        classes: names of the outputs, if the file has them.
        preprocessing: what training did to an image, if the file says so; scalars and lists.
        calibration: pictures to choose integer weights by, uint8[N, H, W, 3], if the file has any.
    """

    arch: str
    config: ESpikeFormerConfig
    D: int
    D_assumed: bool
    container: str
    notices: tuple[str, ...]
    sha256: str
    classes: tuple[str, ...] | None
    preprocessing: Mapping[str, Scalar | list[Scalar]] | None
    calibration: NDArray[np.uint8] | None


def load_checkpoint(
    path: str | Path, arch: str | None = None, D: int | None = None
) -> tuple[ESpikeFormer, CheckpointInfo]:
    """Load a checkpoint without running anything in it.

    Weights are taken from ``model``, else ``state_dict``, else ``model_ema``, else the file
    itself is a state dict; ``module.``, ``backbone.`` and ``model.`` before names are dropped.
    Half precision weights become float32; if any weight is float64, the network is in float64.

    Args:
        path: a ``.pth`` or ``.pt`` file.
        arch: a name of ``list_models()``; default what the file says, else inferred.
        D: largest count of every neuron; default what the file says, else the published one.

    Returns:
        The network in evaluation mode, and what the file is.

    Raises:
        CheckpointError: a file that cannot be read, or whose weights do not fit.
        ModelError: no network called ``arch``, or an impossible ``D``.
    """
    path = Path(path)
    file = read_torch_file(path)
    with refusing(path):
        weights = find_state_dict(file.root)
        info = _describe(file, weights, arch, D)
        model = match_entries(info.config, weights.shapes)
        model.load_state_dict(_values(model, weights.tensors), assign=True)
    return model.eval(), info


def _describe(
    file: TorchFile, weights: StateDict, arch: str | None, D: int | None
) -> CheckpointInfo:
    recipe = file.root if isinstance(file.root, dict) else {}
    chosen, config, notices = _choose(weights.shapes, recipe, arch)
    said = _said_levels(recipe, D)
    if said is not None:
        config = replace(config, levels=said)
    return CheckpointInfo(
        arch=chosen,
        config=config,
        D=config.levels,
        D_assumed=said is None,
        container=weights.container,
        notices=(*notices, *_notices(weights, config, assumed=said is None)),
        sha256=file.sha256,
        classes=_classes(recipe.get("classes"), config.num_classes),
        preprocessing=_preprocessing(recipe.get("preprocessing")),
        calibration=_calibration(recipe.get("calibration")),
    )


def _choose(
    shapes: Mapping[str, tuple[int, ...]], recipe: Mapping[object, object], arch: str | None
) -> tuple[str, ESpikeFormerConfig, tuple[str, ...]]:
    if arch is None:
        arch = _said_arch(recipe)
    if arch is None:
        return infer_config(shapes)
    return arch, replace(find_config(arch), num_classes=class_count(shapes)), ()


def _said_arch(recipe: Mapping[object, object]) -> str | None:
    arch = recipe.get("arch")
    if arch is None:
        return None
    if not isinstance(arch, str):
        raise RefusedError("the file's 'arch' is no text", _RECIPE_FIX)
    try:
        find_config(arch)
    except ModelError as error:
        raise RefusedError(f"the file's 'arch': {error.what}", error.fix) from None
    return arch


def _said_levels(recipe: Mapping[object, object], given: int | None) -> int | None:
    if given is not None:
        if not 1 <= given <= _MAX_LEVELS:
            raise ModelError(
                f"D is {given}", where="the argument D", fix=f"give 1 to {_MAX_LEVELS}"
            )
        return given
    said = recipe.get("D")
    if said is None:
        return None
    if not isinstance(said, int) or isinstance(said, bool) or not 1 <= said <= _MAX_LEVELS:
        raise RefusedError(f"the file's 'D' is no integer of 1 to {_MAX_LEVELS}", _RECIPE_FIX)
    return said


def _classes(names: object, count: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    listed = tuple(names) if isinstance(names, list | tuple) else ()
    texts = tuple(name for name in listed if isinstance(name, str) and name.isprintable())
    if len(listed) != count or texts != listed:
        raise RefusedError(
            f"the file's 'classes' is no list of {count} printable names, one for each output",
            _RECIPE_FIX,
        )
    return texts


def _preprocessing(entries: object) -> dict[str, Scalar | list[Scalar]] | None:
    if entries is None:
        return None
    if not isinstance(entries, dict):
        raise RefusedError("the file's 'preprocessing' is no dictionary", _RECIPE_FIX)
    result: dict[str, Scalar | list[Scalar]] = {}
    for key, value in entries.items():
        if not isinstance(key, str) or not key.isidentifier():
            raise RefusedError("the file's 'preprocessing' has a key that is no name", _RECIPE_FIX)
        is_list = isinstance(value, list | tuple) and len(value) <= _MAX_LISTED
        result[key] = [_scalar(key, part) for part in value] if is_list else _scalar(key, value)
    return result


def _scalar(key: str, value: object) -> Scalar:
    match value:
        case None | bool() | int():
            return value
        case float() if math.isfinite(value):
            return value
        case str() if value.isprintable():
            return value
        case _:
            raise RefusedError(
                f"the file's 'preprocessing' has {shown(key)} that is no finite number, "
                "printable text, or short flat list of these",
                _RECIPE_FIX,
            )


def _calibration(pictures: object) -> NDArray[np.uint8] | None:
    if pictures is None:
        return None
    if not isinstance(pictures, StoredTensor) or pictures.storage.dtype is not torch.uint8:
        raise RefusedError("the file's 'calibration' is no tensor of bytes", _RECIPE_FIX)
    read: NDArray[np.uint8] = pictures.read().numpy()
    if read.ndim != _PICTURES_RANK or read.shape[3] != _COLOURS or not read.size:
        raise RefusedError(
            f"the file's 'calibration' is {list(read.shape)}, not [N, H, W, 3]", _RECIPE_FIX
        )
    return read


def _values(model: ESpikeFormer, stored: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """All entries of the network's state dict, in one floating point type."""
    dtypes = {tensor.storage.dtype for tensor in stored.values()}
    dtype = torch.float64 if torch.float64 in dtypes else torch.float32
    values: dict[str, Tensor] = {}
    for name, slot in model.state_dict().items():
        if slot.is_floating_point():
            values[name] = _weight(name, stored[name], dtype)
        else:
            values[name] = torch.zeros((), dtype=slot.dtype)
            if name in stored:
                values[name].copy_(stored[name].read())
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


def _notices(weights: StateDict, config: ESpikeFormerConfig, *, assumed: bool) -> list[str]:
    notices: list[str] = []
    if assumed:
        notices.append(
            f"the file does not say D; {config.levels} assumed: pass D (--levels on the "
            "command line) if it was trained with another"
        )
    notices.extend(f"the weights under {name!r} were left out" for name in weights.unused)
    dtypes = {tensor.storage.dtype for tensor in weights.tensors.values()}
    notices.extend(
        f"the weights are {str(half).removeprefix('torch.')} in the file and were widened"
        for half in _HALF_PRECISION
        if half in dtypes
    )
    return notices
