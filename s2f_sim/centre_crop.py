"""Preparing a photograph for a classifier, exactly as its training did it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2f_sim.entries import choice, invalid, normalisation, table, whole
from s2f_sim.photograph import SUFFIXES, read_image
from s2f_sim.resampling import INTERPOLATIONS, resample
from s2f_sim.sample import Area, Sample

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Upstream's crop fraction at 224 pixels; above that size it crops nothing.
_CROP_FRACTION, _CROPPED_UP_TO = 224 / 232, 224


@dataclass(frozen=True, slots=True)
class CentreCrop:
    """Resize the short side, crop the centre, scale to [0, 1], normalise per colour.

    Attributes:
        resize: short side after resizing, pixels.
        crop: side of the centre square the network sees, pixels.
        interpolation: one of ``INTERPOLATIONS``.
        mean: subtracted, per colour, of values in [0, 1].
        std: divided by, per colour.
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    kind: ClassVar[str] = "centre_crop"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    @classmethod
    def imagenet(cls, side: int) -> "CentreCrop":
        """What E-SpikeFormer is evaluated with on images of ``side`` pixels.

        >>> CentreCrop.imagenet(224).resize, CentreCrop.imagenet(384).resize
        (232, 384)

        Source: ``e_spikeformer.md`` section 11.
        """
        resize = int(side / _CROP_FRACTION) if side <= _CROPPED_UP_TO else side
        return cls(resize, side, "bicubic", IMAGENET_MEAN, IMAGENET_STD)

    @classmethod
    def from_dict(cls, entries: object, *, where: str) -> "CentreCrop":
        """Read what ``to_dict`` wrote, or what a checkpoint says; nothing is guessed.

        Raises:
            InputError: an entry is missing, unknown, or makes no sense; ``where`` is cited.
        """
        read = table(entries, list(cls.__slots__), where)
        resize, crop = (whole(read, name, where) for name in ("resize", "crop"))
        if crop > resize:
            raise invalid(f"a crop of {crop} does not fit a short side of {resize}", where)
        interpolation = choice(read, "interpolation", INTERPOLATIONS, where)
        return cls(resize, crop, interpolation, *normalisation(read, where))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, text and lists, as artefacts keep them."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    def read(self, path: Path, at_us: int | None = None) -> Sample:
        """An image file, ready for the network.

        Raises:
            InputError: no readable image, or one too narrow to be resized.
        """
        del at_us
        image = read_image(path)
        return Sample(path, self.prepare(image), image, self.seen(image))

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """RGB image of any size -> float32[1, 3, crop, crop].

        Raises:
            InputError: the image is so narrow that the resized one would not fit into memory.

        Source: torchvision's Resize, CenterCrop, ToTensor and Normalize on a PIL image.
        """
        width, height = resized_plane(*image.size, self.resize)
        image = resample(image, width, height, self.interpolation)
        left, top, right, bottom = self._square(width, height)
        pixels = np.asarray(image.crop((left, top, right, bottom)), np.float32)
        mean, std = (np.array(c, np.float32) for c in (self.mean, self.std))
        normal = (pixels / np.float32(255) - mean) / std
        return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])

    def seen(self, image: Image.Image) -> Area:
        """What the network sees of it, in pixels of the original."""
        width, height = resized_plane(*image.size, self.resize)
        across, down = image.width / width, image.height / height
        left, top, right, bottom = self._square(width, height)
        return left * across, top * down, right * across, bottom * down

    def _square(self, width: int, height: int) -> tuple[int, int, int, int]:
        left, top = round((width - self.crop) / 2), round((height - self.crop) / 2)
        return left, top, left + self.crop, top + self.crop


def resized_plane(width: int, height: int, short: int) -> tuple[int, int]:
    """Width and height once the short side is ``short``, rounded as torchvision does.

    >>> resized_plane(640, 427, 232)
    (347, 232)
    """
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short
