"""The encoding layer: a convolution of the image, the one place where pixels are multiplied.

Pixels of up to 16 bits come in pairs with pairs of weights, two products a lane: ``units`` are
32 bits wide and hold two int16. Wider integers and float32 are multiplied one by one.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.finish import Finish, finish_row
from s2f_sim.kernels.kernel import kernel, vector_ir
from s2f_sim.kernels.lanes import (
    I64,
    add,
    declared,
    element_bytes,
    load_lanes,
    loop,
    multiply,
    pointers,
    splat,
    store_lanes,
    zeros,
)
from s2f_sim.kernels.sharing import Share, share_rows

LANES = 16
"""Outputs whose sums lie in one register."""

_REGISTERS = 2
_NEIGHBOURS = 8
_FEWER_NEIGHBOURS = 2
_LANE_BYTES = 4
_PRODUCTS_OF_PAIRS = "llvm.x86.avx512.pmaddw.d.512"
_I16, _I32 = ir.IntType(16), ir.IntType(32)


def _emit_pair_products(builder: Any, pixels: Any, weights: Any, features: list[str]) -> Any:
    """Emit ``pixels[0] * weights[0] + pixels[1] * weights[1]`` of pairs of int16 in int32 lanes."""
    if "+avx512bw" in features:
        halves = ir.VectorType(_I16, 2 * LANES)
        kind = ir.FunctionType(weights.type, [halves, halves])
        together = declared(builder, kind, _PRODUCTS_OF_PAIRS)
        return builder.call(together, [builder.bitcast(p, halves) for p in (pixels, weights)])
    half = ir.Constant(weights.type, [_I16.width] * LANES)
    seconds = [builder.ashr(p, half) for p in (pixels, weights)]
    firsts = [builder.ashr(builder.shl(p, half), half) for p in (pixels, weights)]
    return builder.add(builder.mul(*firsts), builder.mul(*seconds))


class _Line:
    """Emits the sums of a line of output positions, block by block.

    A block is some neighbouring positions by some registers of outputs: its sums stay in registers
    while all pixels go by, and a register of weights, once loaded, serves all its positions.
    """

    def __init__(self, builder: Any, operands: list[Any], features: list[str]) -> None:
        (
            self.pixels, self.at, self.step, self.columns, self.line_pixels, self.height,
            self.weights, self.units, self.pitch, self.tile, self.outputs,
        ) = operands  # fmt: skip
        self.builder, self.features = builder, features
        self.element = self.tile.type.pointee
        self.paired = self.pixels.type.pointee == _I16
        # Their sums fill half of the 32 registers of AVX-512, and of a quarter as many lanes.
        most = _NEIGHBOURS if "+avx512f" in features else _FEWER_NEIGHBOURS
        self.neighbours = most * _LANE_BYTES // element_bytes(self.element)

    def emit(self) -> None:
        """Emit all outputs, the last first.

        A position's last register may reach into the next one's first outputs; these come later.
        """
        builder = self.builder
        odd = builder.urem(self.pitch, I64(_REGISTERS * LANES))
        whole = builder.sub(self.pitch, odd)
        with builder.if_then(builder.icmp_signed(">", odd, I64(0))):
            self._outputs(whole, 1)

        def before(done: Any, held: list[Any]) -> list[Any]:
            lanes = builder.add(done, I64(_REGISTERS * LANES))
            self._outputs(builder.sub(whole, lanes), _REGISTERS)
            return held

        loop(builder, I64(0), whole, _REGISTERS * LANES, [], before)

    def _outputs(self, lane: Any, registers: int) -> None:
        """Emit some registers of outputs of all positions."""
        builder = self.builder
        last = builder.sub(self.columns, I64(1))

        def block(first: Any, held: list[Any]) -> list[Any]:
            positions = []
            for number in range(self.neighbours):
                # Beyond the line it is the last one again: storing a sum twice is harmless.
                own = builder.add(first, I64(number))
                inside = builder.icmp_signed("<", own, last)
                positions.append(builder.select(inside, own, last))
            self._block(positions, lane, registers)
            return held

        end = builder.add(self.columns, I64(self.neighbours - 1))
        loop(builder, I64(0), end, self.neighbours, [], block)

    def _block(self, positions: list[Any], lane: Any, registers: int) -> None:
        builder = self.builder
        windows = [
            builder.gep(self.pixels, [builder.add(self.at, builder.mul(own, self.step))])
            for own in positions
        ]
        row_lanes = builder.mul(self.units, self.pitch)

        def kernel_row(y: Any, held: list[Any]) -> list[Any]:
            pixel = builder.mul(y, self.line_pixels)
            row = builder.add(builder.mul(y, row_lanes), lane)

            def unit(number: Any, held: list[Any]) -> list[Any]:
                own = builder.add(pixel, builder.mul(number, I64(2 if self.paired else 1)))
                at = builder.add(row, builder.mul(number, self.pitch))
                return self._add_unit(windows, own, at, held)

            return loop(builder, I64(0), self.units, 1, held, unit)[1]

        none = [zeros(self.element, LANES)] * (registers * len(positions))
        _, sums = loop(builder, I64(0), self.height, 1, none, kernel_row)
        for number, value in enumerate(sums):
            position, register = divmod(number, registers)
            to = builder.add(builder.mul(positions[position], self.outputs), lane)
            store_lanes(builder, value, self.tile, builder.add(to, I64(register * LANES)))

    def _add_unit(self, windows: list[Any], pixel: Any, at: Any, held: list[Any]) -> list[Any]:
        """Add a unit's products to a block's sums."""
        builder, registers = self.builder, len(held) // len(windows)
        weights = [
            load_lanes(builder, self.weights, builder.add(at, I64(k * LANES)), LANES)
            for k in range(registers)
        ]
        added: list[Any] = []
        for window in windows:
            place = builder.bitcast(builder.gep(window, [pixel]), self.weights.type)
            value = splat(builder, builder.load(place, align=2), LANES)
            for weight in weights:
                added.append(add(builder, held[len(added)], self._products(value, weight)))
        return added

    def _products(self, pixels: Any, weights: Any) -> Any:
        if not self.paired:
            return multiply(self.builder, pixels, weights)
        products = _emit_pair_products(self.builder, pixels, weights, self.features)
        if self.element == _I32:
            return products
        return self.builder.sext(products, ir.VectorType(self.element, LANES))


def _multiply_line_intrinsic(
    _: Any,
    pixels: Any,
    at: Any,
    step: Any,
    columns: Any,
    line_pixels: Any,
    height: Any,
    weights: Any,
    units: Any,
    pitch: Any,
    tile: Any,
    outputs: Any,
) -> Any:
    signature = types.void(
        pixels, at, step, columns, line_pixels, height, weights, units, pitch, tile, outputs
    )

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *_, features = context.codegen().magic_tuple()
        operands = pointers(context, builder, signature, args)
        _Line(builder, operands, features.split(",")).emit()
        return context.get_dummy_value()

    return signature, codegen


def multiply_line_loop(
    pixels: NDArray[Any],
    at: int,
    step: int,
    columns: int,
    line_pixels: int,
    height: int,
    weights: NDArray[Any],
    units: int,
    pitch: int,
    tile: NDArray[Any],
    outputs: int,
) -> None:
    """Plain twin: ``tile[x * outputs:]`` is what the window of position x sums up to.

    Everything is flat and of one type, or int16 pixels, int32 weights of pairs, and units are
    pairs. Products are added in the order of the units, one by one.

    Args:
        pixels: padding included.
        at: first pixel of the first window.
        step: pixels from one window to the next.
        columns: positions of the line.
        line_pixels: pixels from one line of a window to the next.
        height: lines of a window.
        weights: T[height, units, pitch].
        units: of one line of a window.
        pitch: lanes of a unit, the outputs in whole registers of 16.
        tile: out, positions in order. All lanes are stored; those beyond the outputs are soon
            overwritten by the next position's, the last one's stay.
        outputs: of a position.
    """
    assert pitch % LANES == 0
    assert pitch - LANES < outputs <= pitch
    paired, rounded = pixels.dtype == np.int16, tile.dtype.kind == "f"
    per_unit = 2 if paired else 1
    exact: Any = tile.dtype if rounded else object
    sums = np.zeros((columns, pitch), exact)
    for number, row in enumerate(weights[: height * units * pitch].reshape(-1, pitch)):
        y, unit = divmod(number, units)
        first = at + y * line_pixels + unit * per_unit + step * np.arange(columns)[:, None]
        assert 0 <= first.min() <= first.max() <= pixels.size - per_unit
        if paired:
            one, other = row.view(np.int16).reshape(-1, 2).T.astype(np.int64)
            products = one * pixels[first] + other * pixels[first + 1]
            assert (products == products.astype(np.int32)).all()
        else:
            products = row.astype(exact) * pixels[first]
        sums += products
    for x, total in enumerate(sums):
        assert x * outputs <= tile.size - pitch
        tile[x * outputs : x * outputs + pitch] = total
        assert rounded or (tile[x * outputs : x * outputs + pitch] == total).all()


multiply_line = vector_ir(_multiply_line_intrinsic, twin=multiply_line_loop)


@kernel
def multiply_convolution(
    pixels: NDArray[Any],
    line_pixels: int,
    weights: NDArray[Any],
    shape: tuple[int, int, int],
    channels: int,
    stride: tuple[int, int],
    columns: int,
    tile: NDArray[Any],
    finish: Finish,
    share: Share,
) -> None:
    """Multiply every pixel under each window with its row of weights.

    Args:
        pixels: T[H * W * I], padding included; int16 where rows are pairs, which may look one pixel
            beyond the last window.
        line_pixels: W * I.
        weights: T[KH * U * L], L the outputs in whole registers of 16; a unit of U is a pixel of
            one channel, or two of them as a pair of int16, the last one's second weight being 0 if
            their number is odd.
        shape: KH, U, L.
        channels: I.
        stride: vertical, horizontal.
        columns: W' of the output.
        tile: room for the sums of a line, T[members, W' * O], and L more.
        finish: see `Finish`; positions are numbered ``y * W' + x``.
        share: of the output rows.
    """
    if share_rows(share):
        return
    tile = tile[share.member]
    height, units, pitch = shape
    step, outputs = stride[1] * channels, finish.bias.shape[1]
    for oy in range(share.first, share.last):
        at = oy * stride[0] * line_pixels
        multiply_line(
            pixels, at, step, columns, line_pixels, height, weights, units, pitch, tile, outputs
        )
        finish_row(tile, 0, oy * columns, columns, finish)
