"""How many synaptic accumulations a second do the kernels reach on one core?

Run: python benchmarks/kernels.py [--json FILE] [--repeats N]. Every layer is checked against a
dense convolution before it is timed; the weights are small integers, so float32 sums are exact.
An accumulation counts when it is really asked for: padded lanes and the border do not.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.accumulate import accumulate_convolution, accumulate_rows
from s2f_sim.kernels.aligned import aligned_rows, aligned_zeros, padded_lanes
from s2f_sim.kernels.depthwise import accumulate_depthwise
from s2f_sim.kernels.events import build_events, event_capacity, spikes_by_timestep
from s2f_sim.kernels.firing import fire

LEVELS = 4


@dataclass(frozen=True)
class Layer:
    """A square convolution on a square image; ``outputs == 0`` means depthwise."""

    kernel: int
    inputs: int
    outputs: int
    side: int
    stride: int = 1

    def __str__(self) -> str:
        target = f"→{self.outputs}" if self.outputs else " depthwise"
        stride = f" /{self.stride}" if self.stride > 1 else ""
        return f"{self.kernel}×{self.kernel}{stride} {self.inputs}{target}, {self.side}²"


@dataclass(frozen=True)
class Speed:
    """One row of the table; times are the best of the repeats, in milliseconds."""

    layer: str
    mean_count: float
    accumulations: int
    accumulate_ms: float
    giga_per_second: float
    events_ms: float
    timesteps_ms: float
    fire_ms: float


LAYERS = (
    Layer(3, 128, 256, 28),
    Layer(3, 24, 96, 112),
    Layer(3, 96, 24, 112),
    Layer(3, 24, 48, 112, stride=2),
    Layer(3, 48, 192, 56),
    Layer(3, 192, 48, 56),
    Layer(3, 96, 384, 28),
    Layer(3, 384, 96, 28),
    Layer(1, 192, 768, 14),
    Layer(1, 768, 192, 14),
    Layer(1, 240, 960, 14),
    Layer(7, 64, 0, 56),
    Layer(7, 128, 0, 28),
    Layer(3, 24, 0, 112, stride=2),
)


def best_ms(run: Callable[[], object], repeats: int) -> float:
    """Shortest of several runs: the others measured something else as well."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times) * 1e3


def draw_counts(rng: np.random.Generator, layer: Layer) -> NDArray[Any]:
    """Counts with a mean near 0.2: uint8[side, side, inputs]."""
    noise = rng.standard_normal((layer.side, layer.side, layer.inputs))
    return np.clip(np.rint(noise - 0.45), 0, LEVELS).astype(np.uint8)


def dense(layer: Layer, counts: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """The layer as a dense product per tap: float64[Ho, Wo, outputs]."""
    margin = layer.kernel // 2
    padded = np.pad(counts.astype(np.float64), ((margin, margin), (margin, margin), (0, 0)))
    total: Any = 0
    for ky in range(layer.kernel):
        for kx in range(layer.kernel):
            window = padded[
                ky : ky + layer.side : layer.stride, kx : kx + layer.side : layer.stride
            ]
            tap = weight[ky, kx].astype(np.float64)
            total = total + (window @ tap if layer.outputs else window * tap)
    return np.asarray(total)


def measure(layer: Layer, rng: np.random.Generator, repeats: int) -> Speed:
    """Check one layer, then time each of its kernels."""
    counts = draw_counts(rng, layer)
    side, margin, stride = layer.side, layer.kernel // 2, layer.stride
    channels = layer.outputs or layer.inputs
    rows_in = (layer.inputs,) if layer.outputs else ()
    drawn = rng.integers(-7, 8, (layer.kernel, layer.kernel, *rows_in, channels))
    weight = aligned_rows(drawn.astype(np.float32))
    out = (side + 2 * margin - layer.kernel) // stride + 1
    membrane = aligned_zeros((out, out, padded_lanes(channels)), np.float32)
    pointwise = layer.kernel == 1
    image = counts.reshape(-1, 1, layer.inputs) if pointwise else counts
    height, width = image.shape[:2]
    index = np.empty(event_capacity(height, width, layer.inputs, LEVELS), np.uint32)
    first = np.empty((height, width + 1), np.int64)
    tokens = membrane.reshape(out * out, -1)

    def accumulate() -> None:
        steps, pads = (stride, stride), (margin, margin)
        if not layer.outputs:
            accumulate_depthwise(layer.inputs, first, index, weight, membrane, steps, pads, 0, out)
        elif pointwise:
            accumulate_rows(first, index, weight[0, 0], tokens, 0, len(tokens))
        else:
            accumulate_convolution(first, index, weight, membrane, steps, pads, 0, out)

    build_events(image, 0, height, index, first)
    accumulate()
    if not np.array_equal(membrane[..., :channels], dense(layer, counts, drawn)):
        raise AssertionError(f"{layer}: wrong sums")
    ones = np.ones_like(drawn)
    accumulations = int(dense(layer, counts, ones).sum())
    comparators = np.repeat(np.arange(LEVELS, dtype=np.float32)[:, None], channels, axis=1)
    fired = np.empty((out * out, channels), np.uint8)
    accumulate_ms = best_ms(accumulate, repeats)
    return Speed(
        str(layer),
        float(counts.mean()),
        accumulations,
        accumulate_ms,
        accumulations / accumulate_ms / 1e6,
        best_ms(lambda: build_events(image, 0, height, index, first), repeats),
        best_ms(lambda: spikes_by_timestep(counts.reshape(-1, layer.inputs), LEVELS), repeats),
        best_ms(lambda: fire(tokens, comparators, LEVELS, fired, 0, len(tokens)), repeats),
    )


def main() -> None:
    """Print the table; with ``--json``, write it too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{'layer':26} {'GAC/s':>7} {'ms':>8} {'events':>8} {'by time':>8} {'fire':>8}")
    speeds = []
    for layer in LAYERS:
        speed = measure(layer, rng, options.repeats)
        speeds.append(asdict(speed))
        print(
            f"{speed.layer:26} {speed.giga_per_second:7.1f} {speed.accumulate_ms:8.3f}"
            f" {speed.events_ms:8.3f} {speed.timesteps_ms:8.3f} {speed.fire_ms:8.3f}"
        )
    if options.json:
        options.json.write_text(json.dumps(speeds, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
