"""Changing the size of a picture, the ways that published networks were trained with."""

from collections.abc import Mapping

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from s2f_deploy.errors import InputError
from s2f_sim.bilinear import resize

_PILLOW: Mapping[str, Resampling] = {
    "nearest": Resampling.NEAREST,
    "bilinear": Resampling.BILINEAR,
    "bicubic": Resampling.BICUBIC,
    "lanczos": Resampling.LANCZOS,
}
# Without antialiasing, as Ultralytics' loaders resize.
OPENCV = "opencv"
INTERPOLATIONS = (*_PILLOW, OPENCV)
"""All but nearest and opencv are antialiased."""
_MAX_PIXELS = 1 << 26


def resample(image: Image.Image, width: int, height: int, interpolation: str) -> Image.Image:
    """The whole picture with another width and height.

    Raises:
        InputError: it would not fit into memory.
    """
    if width * height > _MAX_PIXELS:
        raise InputError(
            f"an image of {image.width:,}x{image.height:,} pixels would be resized to "
            f"{width:,}x{height:,}",
            where="preprocessing",
            fix="cut out the part that shows the object",
        )
    if (width, height) == image.size:
        return image
    if interpolation == OPENCV:
        return Image.fromarray(resize(np.asarray(image), width, height))
    return image.resize((width, height), _PILLOW[interpolation])
