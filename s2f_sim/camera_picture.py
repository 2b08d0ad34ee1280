"""Events as a picture: where it got brighter is red, where it got darker blue."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from s2f_sim.camera_events import Events
from s2f_sim.camera_frames import count_frames
from s2f_sim.figure import FAINT, INK, MUTED
from s2f_sim.page import Page

BRIGHTER, DARKER = "#d1241f", "#1f57b8"
_MARGIN, _HEADER, _FOOTER, _GAP, _LINE = 28, 66, 52, 20, 26
_PANEL, _SMALL_SENSOR, _PAGE_WIDTH = 300, 128, 1340
# A single event is already well visible; several make a pixel fuller.
_FAINTEST, _FULL_AT = 0.55, 4
_SWATCH, _KEY_WIDTH = 14, 100


def draw_events(
    events: Events,
    bins: int = 1,
    start: int | None = None,
    end: int | None = None,
    *,
    title: str,
    caption: str,
) -> bytes:
    """One panel per bin of the window, oldest first, on white; PNG.

    A pixel that got both brighter and darker is mixed by how often.

    Raises:
        InputError: as ``count_frames`` does.
    """
    counts = count_frames(events, bins, start, end)
    start = int(events.t[0]) if start is None else start
    end = int(events.t[-1]) + 1 if end is None else end
    scale = _scale(events)
    width, height = events.width * scale, events.height * scale
    columns = max(1, min(bins, (_PAGE_WIDTH - 2 * _MARGIN + _GAP) // (width + _GAP)))
    rows = -(-bins // columns)
    across = max(columns * (width + _GAP) - _GAP, 2 * _KEY_WIDTH + 2 * _PANEL)
    page = Page(2 * _MARGIN + across, _HEADER + rows * (height + _LINE + _GAP) + _FOOTER - _GAP)
    _draw_header(page, title)
    for index, frame in enumerate(counts):
        row, column = divmod(index, columns)
        left = _MARGIN + column * (width + _GAP)
        top = _HEADER + row * (height + _LINE + _GAP)
        panel = _coloured(frame).resize((width, height), Resampling.NEAREST)
        page.image.paste(panel, (left, top))
        page.draw.rectangle((left - 1, top - 1, left + width, top + height), outline=FAINT)
        first, last = (start + (end - start) * i // bins for i in (index, index + 1))
        times = f"{first / 1000:,.1f} to {last / 1000:,.1f} ms"
        page.text(left, top + height + 18, times, size=12, colour=MUTED, room=width)
        number = f"{int(frame.sum()):,} events"
        if width >= 2 * _PANEL // 3:
            page.text(left + width, top + height + 18, number, size=12, align="right")
    page.text(_MARGIN, page.image.height - 20, caption, size=13, room=across)
    return page.png()


def _scale(events: Events) -> int:
    """Screen pixels per pixel: whole, so that they stay square, and none is lost."""
    longest = max(events.width, events.height)
    return max(1, (_PANEL if longest <= _SMALL_SENSOR else 2 * _PANEL + _GAP) // longest)


def _coloured(frame: NDArray[np.int32]) -> Image.Image:
    """Counts[2, H, W], darker then brighter -> RGB."""
    pixels = np.full((*frame.shape[1:], 3), 255, np.uint8)
    hit = frame.any(axis=0)
    darker, brighter = frame[:, hit]
    total = darker + brighter
    strength = np.minimum(_FAINTEST + (1 - _FAINTEST) * (total - 1) / (_FULL_AT - 1), 1)
    red, blue = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in (BRIGHTER, DARKER))
    ink = np.outer(brighter / total, red) + np.outer(darker / total, blue)
    pixels[hit] = np.rint(255 * (1 - strength[:, None]) + ink * strength[:, None])
    return Image.fromarray(pixels)


def _draw_header(page: Page, title: str) -> None:
    right = page.image.width - _MARGIN
    for place, (name, colour) in enumerate((("darker", DARKER), ("brighter", BRIGHTER))):
        left = right - (2 - place) * _KEY_WIDTH
        page.draw.rectangle((left, 28, left + _SWATCH, 28 + _SWATCH), fill=colour)
        page.text(left + _SWATCH + 8, 40, name, size=13, colour=INK)
    room = page.image.width - 2 * _MARGIN - 2 * _KEY_WIDTH - _GAP
    page.text(_MARGIN, 42, title, size=23, bold=True, room=room)
