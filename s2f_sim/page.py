"""A page that pictures and texts are put on with Pillow: its colours, its fonts, its scales."""

import colorsys
import functools
import io
from importlib import resources

from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling

from s2f_sim.prediction import printable

INK, MUTED, FAINT, PAPER = "#1f2430", "#687083", "#e4e7ed", "#ffffff"
# Okabe and Ito's palette without its black and yellow: told apart by colour-blind readers too.
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_ELLIPSIS = "…"
_ANCHORS = {"left": "ls", "middle": "ms", "right": "rs"}
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
        """Place one line by its baseline; cut it where it is longer than ``room`` pixels.

        With ``align`` ``right`` or ``middle``, ``left`` is where the line ends or has its middle.
        Letters that our fonts lack become boxes.
        """
        shown = content if room is None else fitted(content, room, size=size, bold=bold)
        # Between two pixels all stems would be blurred.
        at = round(left), round(base)
        font = _font(size, bold)
        self.draw.text(at, printable(shown), fill=colour, font=font, anchor=_ANCHORS[align])

    def png(self) -> bytes:
        """The page as a PNG file's content."""
        stream = io.BytesIO()
        # Within 4 % of what the default gets, in half the time.
        self.image.save(stream, "PNG", compress_level=4)
        return stream.getvalue()


def text_width(content: str, *, size: float = 14, bold: bool = False) -> float:
    """Pixels that one line takes."""
    return _font(size, bold).getlength(printable(content))


def fitted(
    content: str, room: float, *, size: float = 14, bold: bool = False, keep_end: bool = False
) -> str:
    """The longest beginning (or end) of one line that is no wider than ``room`` pixels."""

    def cut(letters: int) -> str:
        if keep_end:
            return _ELLIPSIS + content[len(content) - letters :].lstrip()
        return content[:letters].rstrip() + _ELLIPSIS

    if text_width(content, size=size, bold=bold) <= room:
        return content
    fits, too_long = 0, len(content)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        narrow = text_width(cut(middle), size=size, bold=bold) <= room
        fits, too_long = (middle, too_long) if narrow else (fits, middle)
    return cut(fits)


@functools.lru_cache
def _font(size: float, bold: bool) -> ImageFont.FreeTypeFont:
    # The plain layout: the other one is not in every Pillow, and the scripts it is for are not
    # in our fonts.
    content = io.BytesIO(_font_file("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"))
    return ImageFont.truetype(content, size, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def _font_file(name: str) -> bytes:
    return (resources.files("s2f_sim") / "fonts" / name).read_bytes()


def is_drawn(picture: Image.Image) -> bool:
    """Whether a picture's pixels are meant as squares, as a palette's are; else smooth them."""
    return picture.mode == "P"


def scaled(picture: Image.Image, width: int, height: int) -> Image.Image:
    """A picture of another size, RGB; whatever ``is_drawn`` keeps its squares."""
    shown = picture.convert("RGB")
    if is_drawn(picture):
        # Between whole numbers, the larger one is shrunk: all squares look alike.
        whole = -(-width // picture.width), -(-height // picture.height)
        shown = shown.resize((picture.width * whole[0], picture.height * whole[1]), Resampling.BOX)
    return shown.resize((width, height), Resampling.LANCZOS)


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
    red, green, blue = rgb(colour)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > _LIGHT else PAPER


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green, blue of a ``#rrggbb``, 0 to 255 each.

    >>> rgb("#ff8000")
    (255, 128, 0)
    """
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue
