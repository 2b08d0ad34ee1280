"""Reading image files that anybody may have made."""

import os
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from s2f_deploy.errors import InputError

# Formats whose decoders run inside Pillow; EPS, for one, would start another program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".webp")
_PAPER = (255, 255, 255)
_WIDE_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_BYTE, _WIDE_TO_BYTE = 255, 257


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """The picture in a file, upright, in 8-bit RGB.

    Of an animation the first frame; transparency is laid on white; 16-bit grey keeps its upper
    byte; the orientation that a camera noted is applied.

    Raises:
        InputError: no readable image file, one of more pixels than Pillow thinks safe, or one
            of a format outside ``FORMATS``.
    """
    where = os.fspath(path)
    if not Path(path).is_file():
        raise _unreadable("there is no such file", where)
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            # Remarks about odd metadata are nobody's business, a bomb is.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"the image has more than {Image.MAX_IMAGE_PIXELS:,} pixels",
            where=where,
            fix="scale it down, or cut out the part that shows the object",
        ) from error
    except UnidentifiedImageError as error:
        raise _unreadable("this is no image", where) from error
    # Decoders of damaged files raise whatever their parsing runs into.
    except Exception as error:
        raise _unreadable(f"the image cannot be read: {_reason(error)}", where) from error


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    first = (text.splitlines() or [type(error).__name__])[0]
    return "".join(c if c.isprintable() else "?" for c in first)


def _unreadable(what: str, where: str) -> InputError:
    return InputError(what, where=where, fix=f"give a {', '.join(FORMATS)} file that opens")


def _decode(file: BinaryIO) -> Image.Image:
    with Image.open(file, formats=FORMATS) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
        if image.mode in _WIDE_GREY:
            return _narrowed(image)
        if image.mode == "F":
            raise ValueError("its pixels are real numbers without a known range")
        if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
            layer = image.convert("RGBA")
            paper = Image.new("RGBA", layer.size, (*_PAPER, _BYTE))
            return Image.alpha_composite(paper, layer).convert("RGB")
        return image.convert("RGB")


def _narrowed(image: Image.Image) -> Image.Image:
    """16-bit grey, in whatever mode Pillow holds it, to RGB."""
    wide = np.asarray(image).astype(np.int64)
    grey = np.rint(wide / _WIDE_TO_BYTE) if wide.max(initial=0) > _BYTE else wide
    return Image.fromarray(grey.clip(0, _BYTE).astype(np.uint8)).convert("RGB")
