"""What all pictures share: colours, a canvas measured in pixels, and how a text is cut to fit."""

import io
import warnings

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

DPI = 100
INK, MUTED, FAINT, PAPER = "#1f2430", "#687083", "#e4e7ed", "#ffffff"
# Okabe and Ito's palette without its black and yellow: told apart by colour-blind readers too.
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
FAMILY = "DejaVu Sans"
_ELLIPSIS = "…"

Box = tuple[float, float, float, float]


class Canvas:
    """A figure whose texts are placed in pixels from the upper left corner.

    Holds no state outside itself: no pyplot, no backend is chosen for the process.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
        self._agg = FigureCanvasAgg(self.figure)

    def box(self, left: float, top: float, width: float, height: float) -> Box:
        """A rectangle given in pixels, as ``Figure.add_axes`` takes it."""
        bottom = self.height - top - height
        return (
            left / self.width,
            bottom / self.height,
            width / self.width,
            height / self.height,
        )

    def text(
        self,
        left: float,
        top: float,
        content: str,
        *,
        size: float = 10,
        colour: str = INK,
        weight: str = "normal",
        align: str = "left",
        room: float | None = None,
    ) -> Text:
        """Place one line by its baseline; cut it where it is longer than ``room`` pixels."""
        font = FontProperties(family=FAMILY, size=size, weight=weight)
        return self.figure.text(
            left / self.width,
            1 - top / self.height,
            content if room is None else self.fitted(content, font, room),
            fontproperties=font,
            color=colour,
            ha=align,
            va="baseline",
            # A dollar sign in a name is a dollar sign.
            parse_math=False,
        )

    def fitted(self, content: str, font: FontProperties, room: float) -> str:
        """The longest beginning of ``content`` that is no wider than ``room`` pixels."""
        kept = content
        while kept and self._measured(kept + _ELLIPSIS * (kept != content), font) > room:
            kept = kept[:-1].rstrip()
        return kept if kept == content else kept + _ELLIPSIS

    def _measured(self, content: str, font: FontProperties) -> float:
        renderer = self._agg.get_renderer()
        with _any_glyph():
            width, _, _ = renderer.get_text_width_height_descent(content, font, ismath=False)
        return float(width)

    def png(self) -> bytes:
        """The picture as a PNG file's content."""
        stream = io.BytesIO()
        with _any_glyph():
            self._agg.print_png(stream, metadata={"Software": None})
        return stream.getvalue()


def _any_glyph() -> "warnings.catch_warnings[None]":
    """Inside, letters that the font lacks become boxes without a remark."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
