"""Events as a picture: where it got brighter is red, where it got darker blue."""

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from s2f_sim.camera_events import Events
from s2f_sim.camera_frames import count_frames
from s2f_sim.page import FAINT, INK, MUTED, PAPER, Page, rgb

BRIGHTER, DARKER = "#d1241f", "#1f57b8"
_MARGIN, _HEADER, _FOOTER, _GAP, _LINE = 28, 66, 52, 20, 26
_PANEL, _SMALL_SENSOR, _PAGE_WIDTH = 300, 128, 1340
# A single event is already well visible; several make a pixel fuller, until it is as full as most
# of the busiest are.
_FAINTEST, _FULL_AT, _BUSY = 0.4, 4, 0.95
# Mixtures of the two colours; an odd number, so that half and half is one.
_MIXTURES = 63
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


def events_image(events: Events) -> Image.Image:
    """All these events as one picture, on white, of as many pixels as the sensor has.

    It has a palette, by which other pictures know that its pixels are to stay squares.

    Raises:
        InputError: as ``count_frames`` does.
    """
    end = int(events.t[-1]) + 1 if len(events) else 1
    return _coloured(count_frames(events, 1, 0, end)[0])


def _scale(events: Events) -> int:
    """Screen pixels per pixel: whole, so that they stay square, and none is lost."""
    longest = max(events.width, events.height)
    return max(1, (_PANEL if longest <= _SMALL_SENSOR else 2 * _PANEL + _GAP) // longest)


def _coloured(frame: NDArray[np.int32]) -> Image.Image:
    """Counts[2, H, W], darker then brighter -> colours out of a palette."""
    total = frame.sum(axis=0)
    busy = np.quantile(total[total > 0], _BUSY) if total.any() else 0
    steps = np.ceil(total * _FULL_AT / max(busy, _FULL_AT))
    fullness = np.clip(steps, 1, _FULL_AT) - 1
    mixture = np.rint((_MIXTURES - 1) * frame[1] / np.maximum(total, 1))
    colour = np.where(total, 1 + fullness * _MIXTURES + mixture, 0)
    picture = Image.fromarray(colour.astype(np.uint8))
    picture.putpalette(_palette())
    return picture


@functools.cache
def _palette() -> bytes:
    """White, then for every fullness all mixtures from DARKER to BRIGHTER."""
    brighter = np.linspace(0, 1, _MIXTURES)[:, None]
    ink = brighter * rgb(BRIGHTER) + (1 - brighter) * rgb(DARKER)
    strength = np.linspace(_FAINTEST, 1, _FULL_AT)[:, None, None]
    colours = rgb(PAPER) * (1 - strength) + ink * strength
    return bytes(rgb(PAPER)) + np.rint(colours).astype(np.uint8).tobytes()


def _draw_header(page: Page, title: str) -> None:
    right = page.image.width - _MARGIN
    for place, (name, colour) in enumerate((("darker", DARKER), ("brighter", BRIGHTER))):
        left = right - (2 - place) * _KEY_WIDTH
        page.draw.rectangle((left, 28, left + _SWATCH, 28 + _SWATCH), fill=colour)
        page.text(left + _SWATCH + 8, 40, name, size=13, colour=INK)
    room = page.image.width - 2 * _MARGIN - 2 * _KEY_WIDTH - _GAP
    page.text(_MARGIN, 42, title, size=23, bold=True, room=room)
