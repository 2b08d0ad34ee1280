"""What a checkpoint says about its network besides the weights: the entries of our recipes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from s2f_models.errors import ModelError, shown
from s2f_models.registry import Config, find_config
from s2f_models.segmentation_classes import Colour
from s2f_models.stand_in import RefusedError
from s2f_models.stored_tensor import StoredTensor

Scalar = str | int | float | bool | None
Preprocessing = Mapping[str, Scalar | list[Scalar]]
MAX_LEVELS = 255
MAX_TIMESTEPS = 64
_MAX_LISTED = 256
_PICTURES_RANK, _COLOURS, _LARGEST_BYTE = 4, 3, 255
_FIX = "write it as s2f_models.train_cifar10 does, or remove the key"


@dataclass(frozen=True, eq=False, slots=True)
class Description:
    """What a file says; ``None`` where it says nothing.

    Attributes:
        arch: name in the registry.
        config: everything that fixes the network, if the file holds its layers.
        levels: ``D`` of the neurons.
        must_give_levels: whether there is no usual ``D`` to assume.
        timesteps: ``T``.
        classes: names of the outputs; still to be checked against their number.
        palette: the colour of each.
        preprocessing: what training did to an image.
        calibration: uint8[N, H, W, 3].
        image_size: side of the images it was trained on, in pixels.
    """

    arch: str | None = None
    config: Config | None = None
    levels: int | None = None
    must_give_levels: bool = False
    timesteps: int | None = None
    classes: object = None
    palette: tuple[Colour, ...] | None = None
    preprocessing: Preprocessing | None = None
    calibration: NDArray[np.uint8] | None = None
    image_size: int | None = None


def read_recipe(root: object) -> Description:
    """What one of our recipes, or someone who does as they do, wrote beside the weights.

    Raises:
        RefusedError: an entry is not what its name says.
    """
    entries = root if isinstance(root, dict) else {}
    return Description(
        arch=_arch(entries.get("arch")),
        levels=_count("D", entries.get("D"), MAX_LEVELS),
        timesteps=_count("T", entries.get("T"), MAX_TIMESTEPS),
        classes=entries.get("classes"),
        palette=read_palette(entries.get("palette"), _FIX),
        preprocessing=_preprocessing(entries.get("preprocessing")),
        calibration=_calibration(entries.get("calibration")),
    )


def check_classes(names: object, count: int) -> tuple[str, ...] | None:
    """Names of the outputs, one for each.

    Raises:
        RefusedError: there are more or fewer, or something that cannot be printed.
    """
    if names is None:
        return None
    listed = tuple(names) if isinstance(names, list | tuple) else ()
    texts = tuple(name for name in listed if isinstance(name, str) and name.isprintable())
    if len(listed) != count or texts != listed:
        raise RefusedError(
            f"the file's 'classes' is no list of {count} printable names, one for each output",
            _FIX,
        )
    return texts


def read_palette(listed: object, fix: str) -> tuple[Colour, ...] | None:
    """Colours of the classes, RGB bytes; how many is still to be checked.

    Raises:
        RefusedError: something is no colour.
    """
    if listed is None:
        return None
    if not isinstance(listed, list | tuple):
        raise RefusedError("the file's 'palette' is no list", fix)
    colours = tuple(_colour(colour) for colour in listed)
    if () in colours:
        raise RefusedError("the file's 'palette' has a colour that is not three bytes", fix)
    return colours


def _colour(said: object) -> Colour:
    """Three bytes, or nothing if they are something else."""
    if not isinstance(said, list | tuple) or len(said) != _COLOURS:
        return ()
    parts = tuple(part for part in said if type(part) is int and 0 <= part <= _LARGEST_BYTE)
    return parts if parts == tuple(said) else ()


def _arch(arch: object) -> str | None:
    if arch is None:
        return None
    if not isinstance(arch, str):
        raise RefusedError("the file's 'arch' is no text", _FIX)
    try:
        find_config(arch)
    except ModelError as error:
        raise RefusedError(f"the file's 'arch': {error.what}", error.fix) from None
    return arch


def _count(key: str, said: object, most: int) -> int | None:
    if said is None:
        return None
    if not isinstance(said, int) or isinstance(said, bool) or not 1 <= said <= most:
        raise RefusedError(f"the file's {key!r} is no integer of 1 to {most}", _FIX)
    return said


def _preprocessing(entries: object) -> Preprocessing | None:
    if entries is None:
        return None
    if not isinstance(entries, dict):
        raise RefusedError("the file's 'preprocessing' is no dictionary", _FIX)
    result: dict[str, Scalar | list[Scalar]] = {}
    for key, value in entries.items():
        if not isinstance(key, str) or not key.isidentifier():
            raise RefusedError("the file's 'preprocessing' has a key that is no name", _FIX)
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
                _FIX,
            )


def _calibration(pictures: object) -> NDArray[np.uint8] | None:
    if pictures is None:
        return None
    if not isinstance(pictures, StoredTensor) or pictures.storage.dtype is not torch.uint8:
        raise RefusedError("the file's 'calibration' is no tensor of bytes", _FIX)
    read: NDArray[np.uint8] = pictures.read().numpy()
    if read.ndim != _PICTURES_RANK or read.shape[3] != _COLOURS or not read.size:
        raise RefusedError(
            f"the file's 'calibration' is {list(read.shape)}, not [N, H, W, 3]", _FIX
        )
    return read
