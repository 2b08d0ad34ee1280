"""The spikes of one inference: who fires in which timestep, from the image to the answer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph
from s2f_sim.figure import FAINT, HUES, INK, MUTED, Canvas
from s2f_sim.run import Run

_LEFT, _TOP, _RIGHT, _BOTTOM = 262, 104, 40, 58
_NEURONS, _NEURON_WIDTH = 220, 3
_BAND_HEIGHT, _LARGEST_STEP, _BAND_GAP = 16, 5, 5
_BAR_PANEL, _GAP = 200, 26
_NAME_LETTERS = 36
_WIDTH = _LEFT + _NEURONS * _NEURON_WIDTH + _GAP + _BAR_PANEL + _RIGHT


@dataclass(frozen=True, eq=False, slots=True)
class _Layer:
    """Some neurons of one layer: uint8[n] counts, and the window they fire in, from 1."""

    name: str
    window: int
    counts: NDArray[Any]
    mean: float


def draw_raster(graph: Graph, run: Run, sample: int = 0) -> bytes:
    """Draw a spike raster of one sample; PNG.

    Time flows downward. Every neuron layer is a band as high as its window has timesteps, in the
    order in which the windows open; across lie evenly sampled neurons. A mark is a spike: a neuron
    with count n fires in timesteps 1..n. At the right every layer's mean count.
    """
    layers = sorted(_sampled(graph, run, sample), key=lambda layer: layer.window)
    # Nobody fires after timestep D; lines that are always empty would only take room.
    lines = min(run.timesteps, run.levels)
    step = max(1, min(_LARGEST_STEP, _BAND_HEIGHT // lines))
    band = max(lines * step, 9) + _BAND_GAP
    height, width = len(layers) * band, _NEURONS * _NEURON_WIDTH
    canvas = Canvas(_WIDTH, _TOP + height + _BOTTOM)
    canvas.text(24, 36, "Spikes of one inference", size=15, weight="bold")
    canvas.text(
        24,
        60,
        f"{graph.name}. Time flows downward: each layer fires in its own window of "
        f"{run.timesteps} timesteps ({_drawn(run)}), after the windows of its sources have closed.",
        size=9.5,
        colour=MUTED,
        room=_WIDTH - 48,
    )
    canvas.text(_LEFT - 8, _TOP - 12, "layer, window", size=8, colour=MUTED, align="right")
    canvas.text(_LEFT, _TOP - 12, f"up to {_NEURONS} neurons of each layer", size=8, colour=MUTED)
    raster = canvas.figure.add_axes(canvas.box(_LEFT, _TOP, width, height))
    raster.imshow(
        _bands(layers, lines, step, band),
        extent=(0, _NEURONS, len(layers), 0),
        aspect="auto",
        interpolation="nearest",
    )
    _label(raster, layers)
    bars = canvas.figure.add_axes(
        canvas.box(_LEFT + width + _GAP, _TOP, _BAR_PANEL, height), sharey=raster
    )
    _draw_means(bars, layers)
    return canvas.png()


def _sampled(graph: Graph, run: Run, sample: int) -> list[_Layer]:
    layers = []
    for node in graph.select("integrate_fire"):
        flat = run.counts[node.name][sample].reshape(-1)
        chosen = np.linspace(0, flat.size - 1, min(_NEURONS, flat.size)).astype(int)
        layers.append(_Layer(node.name, node["window"], flat[chosen], float(flat.mean())))
    return layers


def _bands(layers: list[_Layer], timesteps: int, step: int, band: int) -> NDArray[np.float64]:
    """The raster as float64[len(layers) * band, neurons * width, 3] pixels, white where silent."""
    pixels = np.ones((len(layers), band, _NEURONS, _NEURON_WIDTH, 3))
    for row, layer in enumerate(layers):
        here = pixels[row, :-_BAND_GAP, : len(layer.counts)]
        here[:] = to_rgb("#f3f4f7")
        for timestep in range(timesteps):
            lines = here[timestep * step : timestep * step + max(step - 1, 1)]
            # One pixel between neurons stays empty, so that neighbours can be told apart.
            lines[:, layer.counts > timestep, :-1] = to_rgb(HUES[row % len(HUES)])
    return pixels.reshape(len(layers) * band, _NEURONS * _NEURON_WIDTH, 3)


def _label(axes: Axes, layers: list[_Layer]) -> None:
    axes.set_yticks(
        np.arange(len(layers)) + 0.5,
        [f"{_shortened(layer.name)}  {layer.window:>3}" for layer in layers],
        fontsize=7,
        # A dollar sign in a name is a dollar sign.
        parse_math=False,
    )
    axes.set_xticks([])
    axes.tick_params(length=0, labelcolor=INK)
    _without_frame(axes)


def _drawn(run: Run) -> str:
    return "one line each" if run.timesteps <= run.levels else f"lines: the first {run.levels}"


def _shortened(name: str) -> str:
    """The end of a long name, which is what tells layers apart."""
    return name if len(name) <= _NAME_LETTERS else "…" + name[1 - _NAME_LETTERS :]


def _draw_means(axes: Axes, layers: list[_Layer]) -> None:
    rows = np.arange(len(layers)) + 0.5
    means = [layer.mean for layer in layers]
    colours = [HUES[row % len(HUES)] for row in range(len(layers))]
    axes.barh(rows, means, height=0.62, color=colours)
    for row, mean in zip(rows, means, strict=True):
        axes.text(
            mean + max(means) * 0.03, row, f"{mean:.2f}", va="center", fontsize=6.5, color=INK
        )
    axes.axvline(0, color=FAINT, lw=1)
    axes.set_xlim(0, max([*means, 0.01]) * 1.22)
    axes.set_xlabel("mean count (spikes per neuron)", fontsize=9, color=INK)
    axes.tick_params(length=0, labelsize=8, labelcolor=INK)
    axes.tick_params(axis="y", labelleft=False)
    _without_frame(axes)


def _without_frame(axes: Axes) -> None:
    for side in axes.spines.values():
        side.set_visible(False)
