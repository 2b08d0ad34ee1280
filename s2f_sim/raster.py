"""The spikes of one inference: who fires in which timestep, from the image to the answer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph
from s2f_sim.figure import FAINT, HUES, INK, MUTED, Canvas
from s2f_sim.run import Run

_WIDTH, _TOP, _LEFT, _RIGHT = 1180, 92, 250, 40
_SHOWN_PER_LAYER = 12
_ROW_HEIGHT, _LARGEST_RASTER = 2.0, 2000
_STEP_WIDTH = 5.6
_BAR_PANEL, _GAP, _BOTTOM = 200, 34, 58
_LABEL_SIZE = 7.0


@dataclass(frozen=True, eq=False, slots=True)
class _Layer:
    """Some neurons of one layer: uint8[n] counts, and the window they fire in, from 0."""

    name: str
    window: int
    counts: NDArray[Any]
    mean: float


def draw_raster(graph: Graph, run: Run, sample: int = 0) -> bytes:
    """Draw a spike raster of one sample; PNG.

    Every neuron layer gets a band of evenly sampled neurons. A neuron with count n marks the
    timesteps 1..n of its layer's window. At the right every layer's mean count.
    """
    layers = _sampled(graph, run, sample)
    height = round(min(len(layers) * _SHOWN_PER_LAYER * _ROW_HEIGHT, _LARGEST_RASTER))
    width = _WIDTH - _LEFT - _RIGHT - _BAR_PANEL - _GAP
    canvas = Canvas(_WIDTH, _TOP + height + _BOTTOM)
    canvas.text(24, 36, "Spikes of one inference", size=15, weight="bold")
    canvas.text(
        24,
        60,
        f"{graph.name}: every neuron layer fires in its own window of {run.timesteps} timesteps, "
        f"after the windows of its sources have closed; {_SHOWN_PER_LAYER} neurons per layer shown",
        size=9.5,
        colour=MUTED,
        room=_WIDTH - 48,
    )
    raster = canvas.figure.add_axes(canvas.box(_LEFT, _TOP, width, height))
    _draw_spikes(raster, layers, run)
    bars = canvas.figure.add_axes(
        canvas.box(_LEFT + width + _GAP, _TOP, _BAR_PANEL, height), sharey=raster
    )
    _draw_means(bars, layers)
    return canvas.png()


def _sampled(graph: Graph, run: Run, sample: int) -> list[_Layer]:
    layers = []
    for node in graph.select("integrate_fire"):
        flat = run.counts[node.name][sample].reshape(-1)
        chosen = np.linspace(0, flat.size - 1, min(_SHOWN_PER_LAYER, flat.size)).astype(int)
        layers.append(_Layer(node.name, node["window"] - 1, flat[chosen], float(flat.mean())))
    return layers


def _draw_spikes(axes: Axes, layers: list[_Layer], run: Run) -> None:
    end = run.windows * run.timesteps
    for row, layer in enumerate(layers):
        colour = HUES[row % len(HUES)]
        opens = layer.window * run.timesteps
        axes.axhspan(row, row + 1, color=FAINT if row % 2 else "white", alpha=0.45, lw=0)
        heights = row + (np.arange(len(layer.counts)) + 0.5) / len(layer.counts)
        half = 0.5 / len(layer.counts)
        marks = [
            [(opens + step + 0.5, y - half), (opens + step + 0.5, y + half)]
            for y, count in zip(heights, layer.counts, strict=True)
            for step in range(min(int(count), run.timesteps))
        ]
        axes.add_collection(LineCollection(marks, colors=colour, linewidths=_mark_width(end)))
    for window in range(run.windows + 1):
        axes.axvline(window * run.timesteps, color=FAINT, lw=0.6, zorder=0)
    axes.set_xlim(0, end)
    axes.set_ylim(len(layers), 0)
    axes.set_yticks(
        np.arange(len(layers)) + 0.5, [layer.name for layer in layers], fontsize=_LABEL_SIZE
    )
    axes.set_xlabel("timestep", fontsize=9, color=INK)
    axes.tick_params(length=0, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=8)
    _without_frame(axes)


def _mark_width(timesteps: int) -> float:
    """Points: marks of neighbouring timesteps just touch."""
    return float(np.clip(_STEP_WIDTH * 70 / timesteps, 0.7, 4.0))


def _draw_means(axes: Axes, layers: list[_Layer]) -> None:
    rows = np.arange(len(layers)) + 0.5
    means = [layer.mean for layer in layers]
    colours = [HUES[row % len(HUES)] for row in range(len(layers))]
    axes.barh(rows, means, height=0.62, color=colours)
    for row, mean in zip(rows, means, strict=True):
        axes.text(
            mean + max(means) * 0.03, row, f"{mean:.2f}", va="center", fontsize=6.5, color=INK
        )
    axes.set_xlim(0, max([*means, 0.01]) * 1.22)
    axes.set_xlabel("mean count (spikes per neuron)", fontsize=9, color=INK)
    axes.tick_params(length=0, labelsize=8, labelcolor=INK)
    axes.tick_params(axis="y", labelleft=False)
    _without_frame(axes)


def _without_frame(axes: Axes) -> None:
    for side in axes.spines.values():
        side.set_visible(False)
