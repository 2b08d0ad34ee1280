"""The photograph under the colours of its classes, and the map of the classes itself."""

import io

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from s2f_sim.page import FAINT, MUTED, Page, hue, rgb, scaled, text_width
from s2f_sim.segmented import Colour, Region, Segmented

_MARGIN, _HEADER, _FOOTER = 28, 66, 52
_LONG_SIDE, _LEAST_SIDE = 900, 420
_LEGEND_WIDTH, _GAP, _ROW = 250, 32, 34
_SWATCH = 16
# Of the colours over the photograph; what is nothing in particular stays as it is.
_COVER, _UNCOVERED = 0.55, "background"
# Of a palette in a PNG file.
_MOST_COLOURS = 256


def draw_regions(photograph: Image.Image, found: Segmented, *, title: str, caption: str) -> bytes:
    """Lay the colours of the classes over a photograph, beside it a legend of them; PNG.

    Args:
        photograph: RGB, of the size of the label map; scaled to fit the page.
        found: the class of every pixel.
        title: above the legend: what answered.
        caption: below: spikes, operations, timesteps.
    """
    scale = _LONG_SIDE / max(photograph.size)
    width, height = (max(1, round(side * scale)) for side in photograph.size)
    room = max(height, _LEAST_SIDE)
    page = Page(2 * _MARGIN + width + _GAP + _LEGEND_WIDTH, _HEADER + room + _FOOTER)
    colours = np.array(colours_of(found), np.uint8)[found.labels]
    cover = Image.fromarray(colours).resize((width, height), Resampling.NEAREST)
    uncovered = [region.class_index for region in found.regions if region.label == _UNCOVERED]
    covered = np.where(np.isin(found.labels, uncovered), 0, round(255 * _COVER)).astype(np.uint8)
    share = Image.fromarray(covered).resize((width, height), Resampling.NEAREST)
    shown = Image.composite(cover, scaled(photograph, width, height), share)
    page.image.paste(shown, (_MARGIN, _HEADER))
    kinds = len(found.regions)
    page.text(_MARGIN, 42, "1 class" if kinds == 1 else f"{kinds:,} classes", size=23, bold=True)
    _draw_legend(page, _MARGIN + width + _GAP, room, found, title)
    full = page.image.width - 2 * _MARGIN
    page.text(_MARGIN, _HEADER + room + 33, caption, size=13, room=full)
    return page.png()


def draw_labels(found: Segmented) -> bytes:
    """The label map as a PNG whose pixels are classes; up to 256 of them with their colours."""
    colours = colours_of(found)
    if len(colours) <= _MOST_COLOURS:
        image = Image.fromarray(found.labels.astype(np.uint8))
        image.putpalette(np.array(colours, np.uint8).tobytes())
    else:
        image = Image.fromarray(found.labels)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def colours_of(found: Segmented) -> list[Colour]:
    """By class index, at least of the classes that are there: the network's palette, or ours."""
    if found.palette:
        return list(found.palette)
    return [rgb(hue(i)) for i in range(int(found.labels.max()) + 1)]


def _draw_legend(page: Page, left: int, room: int, found: Segmented, title: str) -> None:
    page.text(left, _HEADER + 14, title, size=13, colour=MUTED, room=_LEGEND_WIDTH)
    page.text(left, _HEADER + 34, "class, share of the picture", size=13, colour=MUTED)
    first = _HEADER + 58
    count = len(found.regions)
    rows = min(count, (room - (first - _HEADER)) // _ROW)
    # The last row tells of classes that the page is too short for.
    listed = found.regions[: rows if rows == count else max(0, rows - 1)]
    colours = colours_of(found)
    for row, region in enumerate(listed):
        _draw_entry(page, left, first + row * _ROW, region, colours[region.class_index])
    if len(listed) < count:
        more = f"and {count - len(listed)} more classes"
        page.text(left, first + len(listed) * _ROW + 13, more, size=14, colour=MUTED)


def _draw_entry(page: Page, left: int, top: int, region: Region, colour: Colour) -> None:
    swatch = left, top, left + _SWATCH, top + _SWATCH
    # White and light colours need an edge.
    page.draw.rectangle(swatch, fill=colour, outline=MUTED)
    share = f"{region.share:.1%}"
    page.text(left + _LEGEND_WIDTH, top + 13, share, size=14, bold=True, align="right")
    room = _LEGEND_WIDTH - _SWATCH - 20 - text_width(share, size=14, bold=True)
    page.text(left + _SWATCH + 10, top + 13, region.label, size=14, room=room)
    line = top + _SWATCH + 8
    page.draw.line((left, line, left + _LEGEND_WIDTH, line), fill=FAINT)
