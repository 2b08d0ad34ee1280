"""Preparing a picture for a detector: the whole of it, undistorted, on grey."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2f_sim.entries import choice, table, whole
from s2f_sim.letterbox import Letterbox, network_input
from s2f_sim.photograph import SUFFIXES, read_image
from s2f_sim.resampling import INTERPOLATIONS, OPENCV, resample
from s2f_sim.sample import Sample


@dataclass(frozen=True, slots=True)
class WholePicture:
    """Scale into the network's input, centre, pad with grey, divide by 255.

    Attributes:
        height: of the input, pixels.
        width: of the input, pixels.
        interpolation: one of ``INTERPOLATIONS``; official detectors were trained with ``opencv``.
    """

    height: int
    width: int
    interpolation: str = OPENCV

    kind: ClassVar[str] = "letterbox"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    @classmethod
    def from_dict(cls, entries: object, *, where: str) -> "WholePicture":
        """Read what ``to_dict`` wrote, or what a checkpoint says.

        Raises:
            InputError: an entry is missing, unknown, or makes no sense; ``where`` is cited.
        """
        read = table(entries, list(cls.__slots__), where)
        height, width = (whole(read, name, where) for name in ("height", "width"))
        return cls(height, width, choice(read, "interpolation", INTERPOLATIONS, where))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text, as artefacts keep them."""
        return asdict(self)

    def read(self, path: Path, at_us: int | None = None) -> Sample:
        """An image file, ready for the network.

        Raises:
            InputError: no readable image, or one that cannot be resized.
        """
        del at_us
        image = read_image(path)
        seen = (0.0, 0.0, float(image.width), float(image.height))
        return Sample(path, self.prepare(image), image, seen, self._letterbox(image))

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """RGB image of any size -> float32[1, 3, height, width] in [0, 1]."""
        letterbox = self._letterbox(image)
        height, width = letterbox.resized
        fitting = np.asarray(resample(image, width, height, self.interpolation))
        return network_input(letterbox.pad(fitting))

    def _letterbox(self, image: Image.Image) -> Letterbox:
        return Letterbox.into((image.height, image.width), (self.height, self.width))
