"""The photograph with the network's answer beside it."""

from collections.abc import Sequence

from matplotlib.patches import Rectangle
from PIL import Image
from PIL.Image import Resampling

from s2f_sim.figure import FAINT, HUES, INK, MUTED, PAPER, Canvas
from s2f_sim.prediction import ClassScore

_MARGIN, _HEADER, _FOOTER = 28, 66, 52
_PHOTO_HEIGHT, _PHOTO_WIDTHS = 400, (300, 600)
_PANEL_WIDTH, _GAP = 420, 36
_BAR_HEIGHT, _BAR_STEP = 16, 62
_NUMBER_WIDTH = 64


def annotate(
    photograph: Image.Image,
    scores: Sequence[ClassScore],
    *,
    title: str,
    caption: str,
    seen: tuple[float, float, float, float] | None = None,
) -> bytes:
    """Draw a photograph, its best classes as bars, and a line of counts below; PNG.

    Args:
        photograph: RGB, any size; enlarged smoothly where it is tiny.
        scores: best first, five at most.
        title: above the bars: what answered.
        caption: below: spikes, operations, timesteps.
        seen: left, top, right, bottom of the part the network saw, pixels of ``photograph``.
    """
    width, height = _photo_size(photograph)
    full_width = 2 * _MARGIN + width + _GAP + _PANEL_WIDTH
    canvas = Canvas(full_width, _HEADER + _PHOTO_HEIGHT + _FOOTER)
    _draw_photograph(canvas, photograph, (width, height), seen)
    left = _MARGIN + width + _GAP
    canvas.text(
        _MARGIN, 40, scores[0].label, size=17, weight="bold", room=full_width - 2 * _MARGIN - 90
    )
    canvas.text(
        full_width - _MARGIN,
        40,
        f"{scores[0].probability:.1%}",
        size=17,
        weight="bold",
        colour=HUES[0],
        align="right",
    )
    canvas.text(left, _HEADER + 14, title, size=9.5, colour=MUTED, room=_PANEL_WIDTH)
    canvas.text(left, _HEADER + 34, "softmax of the logits", size=9.5, colour=MUTED)
    _draw_bars(canvas, scores, left, _HEADER + 64)
    base = _HEADER + _PHOTO_HEIGHT + 33
    canvas.text(_MARGIN, base, caption, size=9.5, colour=INK, room=full_width - 2 * _MARGIN)
    return canvas.png()


def _photo_size(photograph: Image.Image) -> tuple[int, int]:
    """Pixels the photograph gets; one that is very wide or very tall is fitted inside."""
    aspect = photograph.width / photograph.height
    narrowest, widest = _PHOTO_WIDTHS
    width = min(max(round(_PHOTO_HEIGHT * aspect), narrowest), widest)
    return width, _PHOTO_HEIGHT


def _draw_photograph(
    canvas: Canvas,
    photograph: Image.Image,
    room: tuple[int, int],
    seen: tuple[float, float, float, float] | None,
) -> None:
    scale = min(room[0] / photograph.width, room[1] / photograph.height)
    width = max(1, round(photograph.width * scale))
    height = max(1, round(photograph.height * scale))
    left = _MARGIN + (room[0] - width) // 2
    top = _HEADER + (room[1] - height) // 2
    axes = canvas.figure.add_axes(canvas.box(left, top, width, height))
    axes.imshow(
        photograph.resize((width, height), Resampling.LANCZOS),
        extent=(0, photograph.width, photograph.height, 0),
        interpolation="nearest",
        aspect="auto",
    )
    axes.set_axis_off()
    if seen is not None:
        x0, y0, x1, y1 = seen
        for colour, style in ((INK, "solid"), (PAPER, (0, (5, 4)))):
            axes.add_patch(
                Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=1.2, ls=style)
            )


def _draw_bars(canvas: Canvas, scores: Sequence[ClassScore], left: float, first: float) -> None:
    length = _PANEL_WIDTH - _NUMBER_WIDTH
    for row, score in enumerate(scores):
        top = first + row * _BAR_STEP
        best = row == 0
        canvas.text(
            left,
            top + 14,
            score.label,
            size=11,
            weight="bold" if best else "normal",
            room=_PANEL_WIDTH,
        )
        axes = canvas.figure.add_axes(canvas.box(left, top + 22, length, _BAR_HEIGHT))
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        axes.barh([0, 0], [1, score.probability], height=1, color=[FAINT, _colour(best)])
        axes.set_ylim(-0.5, 0.5)
        canvas.text(
            left + _PANEL_WIDTH,
            top + 22 + _BAR_HEIGHT - 3,
            f"{score.probability:.1%}",
            size=11,
            weight="bold" if best else "normal",
            align="right",
        )


def _colour(best: bool) -> str:
    return HUES[0] if best else "#8fb8d4"
