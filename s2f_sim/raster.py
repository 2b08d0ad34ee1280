"""The spikes of one inference: who fires in which timestep, from the image to the answer."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2f_deploy.ir.graph import Graph
from s2f_sim.page import FAINT, HUES, MUTED, PAPER, Page, fitted, rgb
from s2f_sim.run import Run

_MARGIN, _LEFT, _TOP, _RIGHT, _BOTTOM = 24, 262, 104, 40, 58
_NEURONS, _FEWEST, _NEURON_WIDTH, _COLUMN_GAP = 220, 8, 3, 3
_BAND_HEIGHT, _LOWEST_BAND, _LARGEST_STEP, _BAND_GAP = 16, 9, 5, 5
_SILENT = "#f3f4f7"
_BAR_PANEL, _GAP, _BAR_SHARE, _MOST_TICKS = 200, 26, 0.62, 5
# What is left beside the longest bar is for its number.
_LEAST_AXIS, _BEYOND_BARS = 0.01, 1.22
_NAME_SIZE, _WINDOW_WIDTH, _SECOND_LINE = 10, 26, 19


@dataclass(frozen=True, eq=False, slots=True)
class _Layer:
    """Some neurons of one layer: uint8[T, n] counts, and the window they fire in, from 1."""

    name: str
    window: int
    counts: NDArray[Any]
    mean: float


@dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes of the raster.

    Attributes:
        steps: real timesteps T, one column each.
        neurons: of a layer that are shown in one column.
        lines: timesteps of a window that are drawn.
        line: height of such a line, pixels.
    """

    steps: int
    neurons: int
    lines: int
    line: int

    @classmethod
    def of(cls, graph: Graph, run: Run) -> "_Layout":
        steps = max((node.output.steps for node in graph.select("integrate_fire")), default=1)
        neurons = max(_FEWEST, _columns(_NEURONS, steps))
        # Nobody fires after timestep D; lines that are always empty would only take room.
        lines = min(run.timesteps, run.levels)
        return cls(steps, neurons, lines, max(1, min(_LARGEST_STEP, _BAND_HEIGHT // lines)))

    @property
    def across(self) -> int:
        """Neurons side by side, and gaps between columns, counted in neurons."""
        return self.steps * (self.neurons + _COLUMN_GAP) - _COLUMN_GAP

    @property
    def filled(self) -> int:
        """Height of what is drawn of a layer, pixels."""
        return max(self.lines * self.line, _LOWEST_BAND)

    @property
    def band(self) -> int:
        """The same with the gap below."""
        return self.filled + _BAND_GAP

    def column(self, steps: int) -> int:
        """Neurons that fit into a column of a layer of so many real timesteps."""
        return _columns(self.across, steps)


def draw_raster(graph: Graph, run: Run, sample: int = 0) -> bytes:
    """Draw a spike raster of one sample; PNG.

    Time flows downward. Every neuron layer is a band as high as its window has timesteps, in the
    order in which the windows open; across lie evenly sampled neurons. A mark is a spike: a neuron
    with count n fires in timesteps 1..n. Networks of T > 1 real timesteps have T columns, with the
    same neurons in each; a layer that fires once for all of them goes across. At the right every
    layer's mean count.
    """
    layout = _Layout.of(graph, run)
    layers = sorted(_sampled(graph, run, sample, layout), key=lambda layer: layer.window)
    top = _TOP + (_SECOND_LINE if layout.steps > 1 else 0)
    width, height = layout.across * _NEURON_WIDTH, len(layers) * layout.band
    bars = _LEFT + width + _GAP
    page = Page(bars + _BAR_PANEL + _RIGHT, top + height + _BOTTOM)
    _draw_header(page, graph, run, layout, top)
    if layers:
        page.image.paste(Image.fromarray(_bands(layers, layout)), (_LEFT, top))
        _label(page, layers, layout, top)
        _draw_means(page, layers, layout, (bars, top))
    return page.png()


def _columns(across: int, steps: int) -> int:
    """Width of each of ``steps`` columns with gaps between them."""
    return (across + _COLUMN_GAP) // steps - _COLUMN_GAP


def _sampled(graph: Graph, run: Run, sample: int, layout: _Layout) -> list[_Layer]:
    layers = []
    for node in graph.select("integrate_fire"):
        steps = node.output.steps
        counts = run.counts[node.name][sample].reshape(steps, -1)
        neurons = counts.shape[1]
        shown = min(layout.column(steps), neurons)
        chosen = np.linspace(0, neurons - 1, shown).astype(int)
        layers.append(_Layer(node.name, node["window"], counts[:, chosen], float(counts.mean())))
    return layers


def _draw_header(page: Page, graph: Graph, run: Run, layout: _Layout, top: int) -> None:
    page.text(_MARGIN, 36, "Spikes of one inference", size=21, bold=True)
    drawn = "one line each" if run.timesteps <= run.levels else f"lines: the first {run.levels}"
    lines = [
        f"{graph.name}. Time flows downward: each layer fires in its own window of "
        f"{run.timesteps} timesteps ({drawn}), after the windows of its sources have closed."
    ]
    columns = [f"up to {layout.neurons} neurons of each layer"]
    if layout.steps > 1:
        lines.append(
            f"From left to right the network's {layout.steps} real timesteps, each with the same "
            f"neurons, up to {layout.neurons} of each layer."
        )
        columns = [f"t = {t + 1}" for t in range(layout.steps)]
    for row, line in enumerate(lines):
        base = 60 + row * _SECOND_LINE
        room = page.image.width - 2 * _MARGIN
        page.text(_MARGIN, base, line, size=13, colour=MUTED, room=room)
    page.text(_LEFT - 8, top - 12, "layer, window", size=11, colour=MUTED, align="right")
    pitch = (layout.neurons + _COLUMN_GAP) * _NEURON_WIDTH
    for t, name in enumerate(columns):
        page.text(_LEFT + t * pitch, top - 12, name, size=11, colour=MUTED, room=pitch)


def _bands(layers: list[_Layer], layout: _Layout) -> NDArray[np.uint8]:
    """The raster as uint8[len(layers) * band, across * width, 3] pixels, white between columns."""
    shape = len(layers), layout.band, layout.across, _NEURON_WIDTH, 3
    pixels = np.full(shape, rgb(PAPER), np.uint8)
    for row, layer in enumerate(layers):
        steps, neurons = layer.counts.shape
        pitch = layout.column(steps) + _COLUMN_GAP
        for t, counts in enumerate(layer.counts):
            here = pixels[row, : layout.filled, t * pitch : t * pitch + neurons]
            here[:] = rgb(_SILENT)
            for timestep in range(layout.lines):
                first = timestep * layout.line
                lines = here[first : first + max(layout.line - 1, 1)]
                # One pixel between neurons stays empty, so that neighbours can be told apart.
                lines[:, counts > timestep, :-1] = rgb(HUES[row % len(HUES)])
    return pixels.reshape(len(layers) * layout.band, layout.across * _NEURON_WIDTH, 3)


def _label(page: Page, layers: list[_Layer], layout: _Layout, top: int) -> None:
    names = _LEFT - 8 - _WINDOW_WIDTH
    for row, layer in enumerate(layers):
        base = _base(layout, top, row)
        # The end of a long name is what tells layers apart.
        name = fitted(layer.name, names - _MARGIN, size=_NAME_SIZE, keep_end=True)
        page.text(names, base, name, size=_NAME_SIZE, align="right")
        page.text(_LEFT - 8, base, str(layer.window), size=_NAME_SIZE, align="right")


def _base(layout: _Layout, top: int, row: int) -> int:
    """Where letters stand that are centred beside a band."""
    return top + row * layout.band + (layout.filled + 7) // 2


def _draw_means(page: Page, layers: list[_Layer], layout: _Layout, corner: tuple[int, int]) -> None:
    left, top = corner
    limit = max(_LEAST_AXIS, *(layer.mean for layer in layers)) * _BEYOND_BARS
    bottom, thickness = top + len(layers) * layout.band, round(_BAR_SHARE * layout.band)
    page.draw.line((left, top, left, bottom), fill=FAINT)
    for row, layer in enumerate(layers):
        length = round(layer.mean / limit * _BAR_PANEL)
        first = top + row * layout.band + (layout.filled - thickness) // 2
        if length:
            area = left, first, left + length - 1, first + thickness - 1
            page.draw.rectangle(area, fill=HUES[row % len(HUES)])
        page.text(left + length + 5, _base(layout, top, row), f"{layer.mean:.2f}", size=9)
    step = _tick_step(limit)
    for i in range(int(limit / step) + 1):
        at, decimals = left + i * step / limit * _BAR_PANEL, max(1, -math.floor(math.log10(step)))
        page.text(at, bottom + 16, f"{i * step:.{decimals}f}", size=11, align="middle")
    each = "neuron and t" if layout.steps > 1 else "neuron"
    page.text(
        left + _BAR_PANEL / 2,
        bottom + 35,
        f"mean count (spikes per {each})",
        size=12,
        align="middle",
    )


def _tick_step(limit: float) -> float:
    """The smallest of 1, 2, 5, 10 times a power of ten that divides an axis into few parts."""
    power = 10.0 ** math.floor(math.log10(limit / _MOST_TICKS))
    return next(n * power for n in (1, 2, 5, 10) if n * power * _MOST_TICKS >= limit)
