"""From a photograph to the array a network takes, exactly as its training did it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from s2f_deploy.errors import InputError

INTERPOLATIONS: Mapping[str, Resampling] = {
    "nearest": Resampling.NEAREST,
    "bilinear": Resampling.BILINEAR,
    "bicubic": Resampling.BICUBIC,
    "lanczos": Resampling.LANCZOS,
}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLOURS = 3
# Upstream's crop fraction at 224 pixels; above that size it crops nothing.
_CROP_FRACTION, _CROPPED_UP_TO = 224 / 232, 224
_MAX_SIDE = 4096
# Of means and deviations; far outside of what any training uses, far inside of float32.
_LARGEST, _SMALLEST_STD = 1e6, 1e-6
_MAX_RESIZED_PIXELS = 1 << 26


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize the short side, crop the centre, scale to [0, 1], normalise per colour.

    Attributes:
        resize: short side after resizing, pixels.
        crop: side of the centre square the network sees, pixels.
        interpolation: a key of ``INTERPOLATIONS``; all but nearest are antialiased.
        mean: subtracted, per colour, of values in [0, 1].
        std: divided by, per colour.
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def imagenet(cls, side: int) -> "Preprocessing":
        """What E-SpikeFormer is evaluated with on images of ``side`` pixels.

        >>> Preprocessing.imagenet(224).resize, Preprocessing.imagenet(384).resize
        (232, 384)

        Source: ``e_spikeformer.md`` section 11.
        """
        resize = int(side / _CROP_FRACTION) if side <= _CROPPED_UP_TO else side
        return cls(resize, side, "bicubic", IMAGENET_MEAN, IMAGENET_STD)

    @classmethod
    def from_dict(cls, entries: object, *, where: str) -> "Preprocessing":
        """Read what ``to_dict`` wrote, or what a checkpoint says; nothing is guessed.

        Raises:
            InputError: an entry is missing, unknown, or makes no sense; ``where`` is cited.
        """
        names = list(cls.__slots__)
        if not isinstance(entries, Mapping) or set(entries) != set(names):
            raise _invalid(f"the preprocessing is not a table of {', '.join(names)}", where)
        resize, crop = (_side(entries, name, where) for name in ("resize", "crop"))
        if crop > resize:
            raise _invalid(f"a crop of {crop} does not fit a short side of {resize}", where)
        interpolation = entries["interpolation"]
        if interpolation not in tuple(INTERPOLATIONS):
            known = ", ".join(INTERPOLATIONS)
            raise _invalid(f"the interpolation is none of {known}", where)
        mean, std = (_colour(entries, name, where) for name in ("mean", "std"))
        if min(std) < _SMALLEST_STD:
            raise _invalid(f"std must be at least {_SMALLEST_STD}", where)
        return cls(resize, crop, interpolation, mean, std)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, text and lists, as artefacts keep them."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}


def _invalid(what: str, where: str) -> InputError:
    return InputError(what, where=where, fix="export the network again with --size and --resize")


def _side(entries: Mapping[Any, Any], name: str, where: str) -> int:
    side = entries[name]
    if type(side) is not int or not 1 <= side <= _MAX_SIDE:
        raise _invalid(f"{name} is no whole number of 1 to {_MAX_SIDE:,} pixels", where)
    return side


def _colour(entries: Mapping[Any, Any], name: str, where: str) -> tuple[float, float, float]:
    values = entries[name]
    listed = list(values) if isinstance(values, list | tuple) else []
    numbers = [float(v) for v in listed if type(v) in (int, float) and abs(v) <= _LARGEST]
    if not len(numbers) == len(listed) == COLOURS:
        raise _invalid(f"{name} is no list of {COLOURS} numbers up to {_LARGEST:,.0f}", where)
    red, green, blue = numbers
    return red, green, blue


def resized_plane(width: int, height: int, short: int) -> tuple[int, int]:
    """Width and height once the short side is ``short``, rounded as torchvision does.

    >>> resized_plane(640, 427, 232)
    (347, 232)
    """
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def prepare(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """RGB image of any size -> float32[1, 3, crop, crop].

    Raises:
        InputError: the image is so narrow that the resized one would not fit into memory.

    Source: torchvision's Resize, CenterCrop, ToTensor and Normalize on a PIL image.
    """
    width, height = resized_plane(*image.size, preprocessing.resize)
    if width * height > _MAX_RESIZED_PIXELS:
        raise InputError(
            f"an image of {image.width:,}x{image.height:,} pixels would be resized to "
            f"{width:,}x{height:,}",
            where="preprocessing",
            fix="cut out the part that shows the object",
        )
    if (width, height) != image.size:
        image = image.resize((width, height), INTERPOLATIONS[preprocessing.interpolation])
    side = preprocessing.crop
    left, top = round((width - side) / 2), round((height - side) / 2)
    pixels = np.asarray(image.crop((left, top, left + side, top + side)), np.float32)
    mean, std = (np.array(c, np.float32) for c in (preprocessing.mean, preprocessing.std))
    normal = (pixels / np.float32(255) - mean) / std
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])


def prepare_pictures(
    pictures: NDArray[np.uint8], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Pictures uint8[N, H, W, 3] -> float32[N, 3, crop, crop]."""
    return np.concatenate([prepare(Image.fromarray(p), preprocessing) for p in pictures])


def seen_part(
    image: Image.Image, preprocessing: Preprocessing
) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of what the network sees, in pixels of the original image."""
    width, height = resized_plane(*image.size, preprocessing.resize)
    across, down = image.width / width, image.height / height
    side = preprocessing.crop
    left, top = round((width - side) / 2), round((height - side) / 2)
    return left * across, top * down, (left + side) * across, (top + side) * down
