"""How many synaptic accumulations a second do the kernels reach on one core?

    python benchmarks/kernels.py [--weights int8] [--mean 0.37] [--repeats N] [--json FILE]

Every layer is run as the engine runs it for a stream of images, see ``s2f_sim/recording.py``, lists
of spikes, sums, firing and counting included, and checked against its dense definition before it is
timed. An accumulation counts when it is really asked for: padded lanes and the border do not.
``share`` compares with a measured roofline: the rate at which one long list of events adds rows
that lie in the innermost cache.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from paired import times_in_turns

from s2f_deploy.ir.graph import DType, Node, TensorType, attributes
from s2f_deploy.ops import OPS
from s2f_sim.kernels.add_rows import add_rows
from s2f_sim.kernels.aligned import address_of
from s2f_sim.kernels.finish import OVERHANG, Finish, only_sums, patterns_of
from s2f_sim.kernels.packing import pack_rows
from s2f_sim.layout import choose_layout
from s2f_sim.synapses import Synapse, prepare
from s2f_sim.workers import Workers

LEVELS = 4
ROOFLINE_ROWS, ROOFLINE_EVENTS, ROOFLINE_LISTS = 64, 4000, 300


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

    def node(self) -> tuple[Node, TensorType]:
        """The layer in an EVENT graph, and what it reads."""
        margin = self.kernel // 2
        out = (self.side + 2 * margin - self.kernel) // self.stride + 1
        groups = 1 if self.outputs else self.inputs
        geometry = attributes(
            groups=groups, stride=(self.stride, self.stride), padding=(margin,) * 4
        )
        output = TensorType((self.outputs or self.inputs, out, out), DType.INT32)
        source = TensorType((self.inputs, self.side, self.side), DType.COUNT, LEVELS)
        return Node("layer", "event_conv2d", ("n",), (), output, "", geometry), source


@dataclass(frozen=True)
class Speed:
    """One row of the table; the time is the best of the repeats, in milliseconds."""

    layer: str
    layout: str
    mean_count: float
    accumulations: int
    ms: float
    giga_per_second: float
    share_of_roofline: float


LAYERS = (
    Layer(3, 128, 256, 28),
    Layer(3, 96, 384, 28),
    Layer(3, 384, 96, 28),
    Layer(3, 48, 192, 56),
    Layer(3, 192, 48, 56),
    Layer(3, 24, 96, 112),
    Layer(3, 96, 24, 112),
    Layer(3, 24, 48, 112, stride=2),
    Layer(3, 48, 96, 56, stride=2),
    Layer(1, 192, 768, 14),
    Layer(1, 768, 192, 14),
    Layer(1, 240, 960, 14),
    Layer(1, 96, 192, 28),
    Layer(1, 24, 48, 112),
    Layer(7, 48, 0, 112),
    Layer(7, 192, 0, 28),
    Layer(5, 96, 0, 56),
    Layer(3, 384, 0, 14),
    Layer(3, 24, 0, 112, stride=2),
)


def draw_counts(rng: np.random.Generator, layer: Layer, mean: float) -> NDArray[Any]:
    """Counts of about that mean: uint8[side, side, inputs]."""
    noise = rng.standard_normal((layer.side, layer.side, layer.inputs))
    low, high = -4.0, 4.0
    while high - low > 1e-3:  # noqa: PLR2004
        middle = (low + high) / 2
        counts = np.clip(np.rint(noise + middle), 0, LEVELS)
        low, high = (middle, high) if counts.mean() < mean else (low, middle)
    return counts.astype(np.uint8)


def finish_of(synapse: Synapse, node: Node, fires: bool) -> Finish:
    """Sums that fire at random comparators, or that are kept."""
    channels, positions = node.output.channels, node.output.positions
    bias = synapse.bias
    if not fires:
        return only_sums(bias, np.empty((positions, channels), bias.dtype))
    drawn = np.random.default_rng(1).integers(-999, 3000, (LEVELS, channels))
    finish = only_sums(bias, bias[:0])._replace(
        comparators=np.sort(drawn, axis=0).astype(bias.dtype),
        timesteps=LEVELS,
        counts=np.empty(positions * channels + OVERHANG, np.uint8),
        spikes=np.empty((LEVELS, positions), np.int32),
    )
    return finish._replace(patterns=patterns_of(finish))


@njit
def add_block(
    index: NDArray[Any], lanes: NDArray[Any], block: NDArray[Any], burst: int, target: NDArray[Any]
) -> None:
    """One long list of events for one block."""
    output, shape, base, pitch, silence = block
    add_rows(index, 0, index.size, lanes, base, pitch, target, output, burst, silence, shape)


def roofline(kind: np.dtype[Any], repeats: int) -> float:
    """Accumulations a second, in 10⁹, of one long list whose rows lie in the nearest cache."""
    rng = np.random.default_rng(0)
    outputs = 256 if kind.kind == "i" else 128
    packed = pack_rows(rng.integers(-99, 100, (ROOFLINE_ROWS, outputs)).astype(kind))
    index = rng.integers(0, ROOFLINE_ROWS, ROOFLINE_EVENTS).astype(np.uint32)
    target = np.zeros(1024, np.int32 if kind.kind == "i" else np.float32)
    arguments = (index, packed.lanes, packed.blocks[0], packed.burst, target)

    def add() -> None:
        # Long enough for the processor to be as fast as it is in a layer.
        for _ in range(ROOFLINE_LISTS):
            add_block(*arguments)

    seconds = times_in_turns({"add": add}, repeats)["add"]
    return ROOFLINE_LISTS * ROOFLINE_EVENTS * outputs / min(seconds) / 1e9


def measure(layer: Layer, kind: np.dtype[Any], mean: float, repeats: int, roof: float) -> Speed:
    """Check one layer, then time it."""
    rng = np.random.default_rng(0)
    counts = draw_counts(rng, layer, mean)
    node, source = layer.node()
    inputs = layer.inputs if layer.outputs else 1
    shape = (layer.kernel, layer.kernel, inputs, node.output.channels)
    weight = rng.integers(-7, 8, shape).astype(kind)
    bias = np.zeros(shape[3], np.int32 if kind.kind == "i" else np.float32)
    layout = choose_layout(node, source, weight)
    synapse = prepare(node, source, [weight, bias], layout)
    workers = Workers(1)
    kept, fired = (finish_of(synapse, node, fires) for fires in (False, True))
    synapse.accumulate(counts, kept, workers)
    dense = OPS["event_conv2d"].dense(node, [counts.transpose(2, 0, 1)], [weight, bias])
    if not np.array_equal(kept.membrane.T.reshape(dense.shape), dense):
        raise AssertionError(f"{layer}: wrong sums")
    fan_out = OPS["event_conv2d"].fan_out
    assert fan_out is not None
    reached = fan_out(node, source, [weight, bias])
    accumulations = int(counts.reshape(-1, layer.inputs).sum(1, dtype=np.int64) @ reached)
    workers.recording = []
    synapse.accumulate(counts, fired, workers)
    (call,), workers.recording = workers.recording, None
    calls = np.array([[call.function, address_of(call.frame), call.shared]], np.int64)
    seconds = min(times_in_turns({"run": lambda: workers.replay(calls)}, repeats)["run"])
    rate = accumulations / seconds / 1e9
    together = f" x{layout.together}" if layout.together > 1 else ""
    return Speed(
        str(layer), layout.kernel + together, float(counts.mean()), accumulations, 1e3 * seconds,
        rate, rate / roof,
    )  # fmt: skip


def main() -> None:
    """Print the table; with ``--json``, write it too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--weights", choices=["int8", "int16", "float32"], default="int8")
    parser.add_argument("--mean", type=float, default=0.37)
    parser.add_argument("--repeats", type=int, default=25)
    options = parser.parse_args()
    kind = np.dtype(options.weights)
    roof = roofline(kind, options.repeats)
    print(f"{options.weights}, mean count {options.mean}; roofline {roof:.0f} GAC/s")
    print(f"{'layer':26} {'layout':16} {'GAC/s':>7} {'share':>6} {'ms':>8}")
    speeds = []
    for layer in LAYERS:
        speed = measure(layer, kind, options.mean, options.repeats, roof)
        speeds.append(asdict(speed))
        print(
            f"{speed.layer:26} {speed.layout:16} {speed.giga_per_second:7.1f}"
            f" {speed.share_of_roofline:6.0%} {speed.ms:8.3f}",
            flush=True,
        )
    if options.json:
        document = json.dumps({"roofline": roof, "layers": speeds}, indent=1)
        options.json.write_text(document + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
