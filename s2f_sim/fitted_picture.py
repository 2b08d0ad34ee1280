"""Preparing a picture for a network that tells the class of every pixel."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2f_sim.entries import COLOURS, Channels, normalisation, table, whole
from s2f_sim.fit import Fit
from s2f_sim.photograph import SUFFIXES, read_image
from s2f_sim.resampling import OPENCV, resample
from s2f_sim.sample import Sample

# ImageNet's, of values from 0 to 255.
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True, slots=True)
class FittedPicture:
    """Scale into the network's input, normalise, pad on the right and below with zeros.

    Attributes:
        height: of the input, pixels.
        width: of the input, pixels.
        mean: subtracted, per colour, of values from 0 to 255.
        std: divided by, per colour.
    """

    height: int
    width: int
    mean: Channels
    std: Channels

    kind: ClassVar[str] = "fitted"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    @classmethod
    def imagenet(cls, height: int, width: int) -> "FittedPicture":
        """What Spike2Former is evaluated with.

        Source: ``spike2former.md`` section 10.
        """
        return cls(height, width, _MEAN, _STD)

    @classmethod
    def from_dict(cls, entries: object, *, where: str) -> "FittedPicture":
        """Read what ``to_dict`` wrote, or what a checkpoint says.

        Raises:
            InputError: an entry is missing, unknown, or makes no sense; ``where`` is cited.
        """
        read = table(entries, list(cls.__slots__), where)
        height, width = (whole(read, name, where) for name in ("height", "width"))
        return cls(height, width, *normalisation(read, where))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, as artefacts keep them."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    def read(self, path: Path, at_us: int | None = None) -> Sample:
        """An image file, ready for the network.

        Raises:
            InputError: no readable image, or one that cannot be resized.
        """
        del at_us
        image = read_image(path)
        seen = (0.0, 0.0, float(image.width), float(image.height))
        return Sample(path, self.prepare(image), image, seen, fit=self._fit(image))

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """RGB image of any size -> float32[1, 3, height, width]."""
        height, width = self._fit(image).resized
        # Training resized 8-bit pixels with OpenCV.
        pixels = np.asarray(resample(image, width, height, OPENCV), np.float32)
        mean, std = (np.array(c, np.float32) for c in (self.mean, self.std))
        placed = np.zeros((1, COLOURS, self.height, self.width), np.float32)
        placed[0, :, :height, :width] = ((pixels - mean) / std).transpose(2, 0, 1)
        return placed

    def _fit(self, image: Image.Image) -> Fit:
        return Fit.into((image.height, image.width), (self.height, self.width))
