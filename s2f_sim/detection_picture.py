"""The photograph with a labelled box around everything that was found."""

from collections import Counter
from collections.abc import Sequence

from PIL import Image

from s2f_sim.detections import Detection
from s2f_sim.page import FAINT, INK, MUTED, Page, hue, ink_on, is_drawn, scaled, text_width

_MARGIN, _HEADER, _FOOTER = 28, 66, 52
_LONG_SIDE, _LEAST_SIDE = 900, 420
_LEGEND_WIDTH, _GAP, _ROW = 250, 32, 34
_SWATCH = 16
_LINE, _LABEL_HEIGHT, _LABEL_PAD, _LABEL_SIZE = 3, 19, 5, 13

_Area = tuple[float, float, float, float]


def draw_detections(
    photograph: Image.Image, found: Sequence[Detection], *, title: str, caption: str
) -> bytes:
    """Draw boxes and labels on a photograph, beside it a legend of the classes; PNG.

    Classes are coloured by how often they were found. Weak boxes are drawn first, so that the
    labels of strong ones stay readable.

    Args:
        photograph: RGB, any size; scaled to fit the page. Or drawn with a palette, as
            ``events_image`` is; then its pixels stay squares.
        found: boxes in pixels of ``photograph``.
        title: above the legend: what answered.
        caption: below: spikes, operations, timesteps.
    """
    scale, width, height = _fit(photograph)
    kinds = Counter(d.class_index for d in found).most_common()
    room = max(height, _LEAST_SIDE)
    page = Page(2 * _MARGIN + width + _GAP + _LEGEND_WIDTH, _HEADER + room + _FOOTER)
    layer = Page(width, height)
    layer.image.paste(scaled(photograph, width, height))
    colours = {index: hue(rank) for rank, (index, _) in enumerate(kinds)}
    taken: list[_Area] = []
    # Strong boxes choose the place of their label first, and are drawn last.
    ranked = sorted(found, key=lambda d: -d.score)
    places = [_place_label(d, scale, (width, height), taken) for d in ranked]
    for detection in reversed(ranked):
        _draw_box(layer, detection, scale, colours[detection.class_index])
    for detection, place in reversed(list(zip(ranked, places, strict=True))):
        _draw_label(layer, detection, place, colours[detection.class_index])
    page.image.paste(layer.image, (_MARGIN, _HEADER))
    if is_drawn(photograph):
        frame = _MARGIN - 1, _HEADER - 1, _MARGIN + width, _HEADER + height
        page.draw.rectangle(frame, outline=FAINT)
    things = "1 object" if len(found) == 1 else f"{len(found):,} objects"
    page.text(_MARGIN, 42, things if found else "Nothing found", size=23, bold=True)
    _draw_legend(page, _MARGIN + width + _GAP, room, found, colours, title)
    full = page.image.width - 2 * _MARGIN
    page.text(_MARGIN, _HEADER + room + 33, caption, size=13, room=full)
    return page.png()


def _fit(photograph: Image.Image) -> tuple[float, int, int]:
    scale = _LONG_SIDE / max(photograph.size)
    if is_drawn(photograph):
        # All squares get the same size.
        scale = round(scale) or scale
    width, height = (max(1, round(side * scale)) for side in photograph.size)
    return scale, width, height


def _label(detection: Detection) -> str:
    return f"{detection.label} {detection.score:.0%}"


def _place_label(
    detection: Detection, scale: float, size: tuple[int, int], taken: list[_Area]
) -> _Area:
    """Above the box, below it, or inside: the first that hides no label placed before."""
    left, top, _, bottom = (side * scale for side in detection.box)
    width = min(
        text_width(_label(detection), size=_LABEL_SIZE, bold=True) + 2 * _LABEL_PAD, size[0]
    )
    left = min(max(0.0, left - _LINE / 2), size[0] - width)
    tops = (top - _LABEL_HEIGHT, bottom, top, bottom - _LABEL_HEIGHT)
    areas = [(left, t, left + width, t + _LABEL_HEIGHT) for t in tops]
    inside = [a for a in areas if a[1] >= 0 and a[3] <= size[1]]
    inside = inside or [(left, 0.0, left + width, float(_LABEL_HEIGHT))]
    free = [a for a in inside if not any(_meet(a, other) for other in taken)]
    chosen = (free or inside)[0]
    taken.append(chosen)
    return chosen


def _meet(a: _Area, b: _Area) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _draw_box(layer: Page, detection: Detection, scale: float, colour: str) -> None:
    left, top, right, bottom = (round(side * scale) for side in detection.box)
    # A thin dark edge keeps the colour visible on a background that resembles it.
    for line, ink in ((_LINE + 2, INK), (_LINE, colour)):
        grown = (line - _LINE) // 2
        corners = (left - grown, top - grown, right + grown, bottom + grown)
        layer.draw.rectangle(corners, outline=ink, width=line)


def _draw_label(layer: Page, detection: Detection, place: _Area, colour: str) -> None:
    layer.draw.rectangle(place, fill=colour)
    layer.text(
        place[0] + _LABEL_PAD,
        place[3] - 5,
        _label(detection),
        size=_LABEL_SIZE,
        bold=True,
        colour=ink_on(colour),
        room=place[2] - place[0] - _LABEL_PAD,
    )


def _draw_legend(
    page: Page,
    left: int,
    room: int,
    found: Sequence[Detection],
    colours: dict[int, str],
    title: str,
) -> None:
    page.text(left, _HEADER + 14, title, size=13, colour=MUTED, room=_LEGEND_WIDTH)
    if found:
        page.text(left, _HEADER + 34, "class, boxes, best score", size=13, colour=MUTED)
    first = _HEADER + 58
    rows = min(len(colours), (room - (first - _HEADER)) // _ROW)
    # The last row tells of classes that the page is too short for.
    listed = list(colours.items())[: rows if rows == len(colours) else max(0, rows - 1)]
    for row, (index, colour) in enumerate(listed):
        members = [d for d in found if d.class_index == index]
        top = first + row * _ROW
        page.draw.rectangle((left, top, left + _SWATCH, top + _SWATCH), fill=colour)
        best = f"{len(members)} · {max(d.score for d in members):.0%}"
        page.text(left + _LEGEND_WIDTH, top + 13, best, size=14, bold=True, align="right")
        name_room = _LEGEND_WIDTH - _SWATCH - 20 - text_width(best, size=14, bold=True)
        page.text(left + _SWATCH + 10, top + 13, members[0].label, size=14, room=name_room)
        line = top + _SWATCH + 8
        page.draw.line((left, line, left + _LEGEND_WIDTH, line), fill=FAINT)
    if len(listed) < len(colours):
        more = f"and {len(colours) - len(listed)} more classes"
        page.text(left, first + len(listed) * _ROW + 13, more, size=14, colour=MUTED)
