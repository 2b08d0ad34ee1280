"""The photograph with the network's answer beside it."""

from collections.abc import Sequence

from PIL import Image

from s2f_sim.page import FAINT, HUES, INK, MUTED, PAPER, Page, is_drawn, scaled
from s2f_sim.prediction import ClassScore

_MARGIN, _HEADER, _FOOTER = 28, 66, 52
_PHOTO_HEIGHT, _PHOTO_WIDTHS = 400, (300, 600)
_PANEL_WIDTH, _GAP = 420, 36
_BAR_HEIGHT, _BAR_STEP = 16, 62
_NUMBER_WIDTH = 64
_LINE, _DASH, _SPACE = 2, 8, 7
# Of a drawn pixel: from here on sharp edges are worth more than filling the room.
_LARGE_SQUARE = 3
_OTHERS = "#8fb8d4"

_Area = tuple[float, float, float, float]


def annotate(
    photograph: Image.Image,
    scores: Sequence[ClassScore],
    *,
    title: str,
    caption: str,
    seen: _Area | None = None,
) -> bytes:
    """Draw a photograph, its best classes as bars, and a line of counts below; PNG.

    Args:
        photograph: RGB, any size; enlarged smoothly where it is tiny. Or drawn with a palette,
            as ``events_image`` is; then its pixels stay squares.
        scores: best first, five at most.
        title: above the bars: what answered.
        caption: below: spikes, operations, timesteps.
        seen: left, top, right, bottom of the part the network saw, pixels of ``photograph``;
            marked where that is not all of it.
    """
    width, height = _photo_size(photograph)
    full_width = 2 * _MARGIN + width + _GAP + _PANEL_WIDTH
    page = Page(full_width, _HEADER + _PHOTO_HEIGHT + _FOOTER)
    _draw_photograph(page, photograph, (width, height), seen)
    left = _MARGIN + width + _GAP
    best = scores[0]
    page.text(_MARGIN, 40, best.label, size=23, bold=True, room=full_width - 2 * _MARGIN - 90)
    page.text(
        full_width - _MARGIN,
        40,
        f"{best.probability:.1%}",
        size=23,
        bold=True,
        colour=HUES[0],
        align="right",
    )
    page.text(left, _HEADER + 14, title, size=13, colour=MUTED, room=_PANEL_WIDTH)
    page.text(left, _HEADER + 34, "softmax of the logits", size=13, colour=MUTED)
    _draw_bars(page, scores, left, _HEADER + 64)
    base = _HEADER + _PHOTO_HEIGHT + 33
    page.text(_MARGIN, base, caption, size=13, room=full_width - 2 * _MARGIN)
    return page.png()


def _photo_size(photograph: Image.Image) -> tuple[int, int]:
    """Pixels the photograph gets; one that is very wide or very tall is fitted inside."""
    aspect = photograph.width / photograph.height
    narrowest, widest = _PHOTO_WIDTHS
    width = min(max(round(_PHOTO_HEIGHT * aspect), narrowest), widest)
    return width, _PHOTO_HEIGHT


def _draw_photograph(
    page: Page, photograph: Image.Image, room: tuple[int, int], seen: _Area | None
) -> None:
    scale = min(room[0] / photograph.width, room[1] / photograph.height)
    if is_drawn(photograph) and scale >= _LARGE_SQUARE:
        scale = int(scale)
    width = max(1, round(photograph.width * scale))
    height = max(1, round(photograph.height * scale))
    left = _MARGIN + (room[0] - width) // 2
    top = _HEADER + (room[1] - height) // 2
    if is_drawn(photograph):
        page.draw.rectangle((left - 1, top - 1, left + width, top + height), outline=FAINT)
    page.image.paste(scaled(photograph, width, height), (left, top))
    if seen is None or seen == (0, 0, *photograph.size):
        return
    x0, y0, x1, y1 = seen
    sides = (left + x0 * scale, top + y0 * scale, left + x1 * scale, top + y1 * scale)
    _mark(page, sides, (left, top, left + width, top + height))


def _mark(page: Page, area: _Area, within: tuple[int, int, int, int]) -> None:
    """A line of white and dark dashes around ``area``: visible on everything."""
    left, top = (max(round(at) - 1, least) for at, least in zip(area[:2], within[:2], strict=True))
    right, bottom = (
        min(round(at) + 1, most) for at, most in zip(area[2:], within[2:], strict=True)
    )
    page.draw.rectangle((left, top, right - 1, bottom - 1), outline=INK, width=_LINE)
    for x in range(left, right, _DASH + _SPACE):
        for y in (top, bottom - _LINE):
            end = min(x + _DASH, right)
            page.draw.rectangle((x, y, end - 1, y + _LINE - 1), fill=PAPER)
    for y in range(top, bottom, _DASH + _SPACE):
        for x in (left, right - _LINE):
            end = min(y + _DASH, bottom)
            page.draw.rectangle((x, y, x + _LINE - 1, end - 1), fill=PAPER)


def _draw_bars(page: Page, scores: Sequence[ClassScore], left: int, first: int) -> None:
    length = _PANEL_WIDTH - _NUMBER_WIDTH
    for row, score in enumerate(scores):
        best = row == 0
        top = first + row * _BAR_STEP
        bar = top + 22
        page.text(left, top + 14, score.label, size=15, bold=best, room=_PANEL_WIDTH)
        page.draw.rectangle((left, bar, left + length - 1, bar + _BAR_HEIGHT - 1), fill=FAINT)
        if filled := round(length * score.probability):
            corner = left + filled - 1, bar + _BAR_HEIGHT - 1
            page.draw.rectangle((left, bar, *corner), fill=HUES[0] if best else _OTHERS)
        page.text(
            left + _PANEL_WIDTH,
            bar + _BAR_HEIGHT - 3,
            f"{score.probability:.1%}",
            size=15,
            bold=best,
            align="right",
        )
