"""A page that pictures and texts are put on with Pillow, in the colours all our pictures share."""

import colorsys
import functools
import io

from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont

from s2f_sim.figure import FAMILY, HUES, INK, PAPER

_ELLIPSIS = "…"
# Turns of the colour wheel that never come close to an earlier one.
_GOLDEN_TURN = 0.618034
# Of 0 to 255: lighter ones get dark letters.
_LIGHT = 140
_SATURATIONS, _VALUES = (0.85, 0.55), (0.8, 0.55, 0.95)


class Page:
    """White paper, measured in pixels from its upper left corner.

    Attributes:
        image: what has been drawn so far.
        draw: Pillow's pen for it.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self,
        left: float,
        base: float,
        content: str,
        *,
        size: float = 14,
        colour: str = INK,
        bold: bool = False,
        align: str = "left",
        room: float | None = None,
    ) -> None:
        """Place one line by its baseline; cut it where it is longer than ``room`` pixels."""
        font = _font(size, bold)
        shown = content if room is None else fitted(content, room, size=size, bold=bold)
        anchor = "rs" if align == "right" else "ls"
        self.draw.text((left, base), shown, fill=colour, font=font, anchor=anchor)

    def png(self) -> bytes:
        """The page as a PNG file's content."""
        stream = io.BytesIO()
        self.image.save(stream, "PNG")
        return stream.getvalue()


def text_width(content: str, *, size: float = 14, bold: bool = False) -> float:
    """Pixels that one line takes."""
    return _font(size, bold).getlength(content)


def fitted(content: str, room: float, *, size: float = 14, bold: bool = False) -> str:
    """The longest beginning of one line that is no wider than ``room`` pixels."""
    if text_width(content, size=size, bold=bold) <= room:
        return content
    fits, too_long = 0, len(content)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        cut = content[:middle].rstrip() + _ELLIPSIS
        narrow = text_width(cut, size=size, bold=bold) <= room
        fits, too_long = (middle, too_long) if narrow else (fits, middle)
    return content[:fits].rstrip() + _ELLIPSIS


@functools.lru_cache
def _font(size: float, bold: bool) -> ImageFont.FreeTypeFont:
    file = findfont(FontProperties(family=FAMILY, weight="bold" if bold else "normal"))
    return ImageFont.truetype(file, size)


def hue(index: int) -> str:
    """Colour of the ``index``-th kind of thing: first our palette, then ever new ones.

    >>> len({hue(i) for i in range(80)})
    80
    """
    if index < len(HUES):
        return HUES[index]
    turn = (index * _GOLDEN_TURN) % 1
    saturation, value = _SATURATIONS[index % 2], _VALUES[index % 3]
    channels = colorsys.hsv_to_rgb(turn, saturation, value)
    return "#" + "".join(f"{round(255 * c):02x}" for c in channels)


def ink_on(colour: str) -> str:
    """Dark or white, whichever can be read on ``colour``, a ``#rrggbb``.

    Source: luma of ITU-R BT.601.
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > _LIGHT else PAPER
