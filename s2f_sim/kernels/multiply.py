"""The encoding layer: a convolution of the image, the one place where pixels are multiplied.

Pixels of up to 16 bits come in pairs with pairs of weights, two products a lane: ``units`` are
32 bits wide and hold two int16. Wider integers and float32 are multiplied one by one.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.clearing import clear
from s2f_sim.kernels.finish import Finish, finish_row
from s2f_sim.kernels.kernel import kernel, vector_ir
from s2f_sim.kernels.lanes import (
    I64,
    add,
    declared,
    load_lanes,
    loop,
    multiply,
    pointers,
    splat,
    store_lanes,
    switch,
    zeros,
)
from s2f_sim.kernels.plain_rows import PLAIN_REGISTERS, whole_registers

LANES = 16
_PRODUCTS_OF_PAIRS = "llvm.x86.avx512.pmaddw.d.512"
_I16, _I32 = ir.IntType(16), ir.IntType(32)


def _emit_pair_products(builder: Any, pixels: Any, weights: Any, features: str) -> Any:
    """Emit ``pixels[0] * weights[0] + pixels[1] * weights[1]`` of pairs of int16 in int32 lanes."""
    halves, sums = ir.VectorType(_I16, 2 * LANES), ir.VectorType(_I32, LANES)
    pairs = [builder.bitcast(packed, halves) for packed in (pixels, weights)]
    if "+avx512bw" in features.split(","):
        kind = ir.FunctionType(sums, [halves, halves])
        together = declared(builder, kind, _PRODUCTS_OF_PAIRS)
        return builder.call(together, pairs)
    products = []
    for half in range(2):
        lanes = ir.Constant(ir.VectorType(_I32, LANES), [2 * k + half for k in range(LANES)])
        parts = [builder.sext(builder.shuffle_vector(p, p, lanes), sums) for p in pairs]
        products.append(builder.mul(*parts))
    return builder.add(*products)


def _emit_products(builder: Any, operands: list[Any], registers: int, features: str) -> None:
    pixels, at, count, rows, row, pitch, target, to = operands
    element = target.type.pointee
    paired = pixels.type.pointee == _I16
    per_unit = 2 if paired else 1
    slots = [builder.add(to, I64(k * LANES)) for k in range(registers)]
    held = [load_lanes(builder, target, slot, LANES) for slot in slots]
    # Several units a round, each into registers of its own: one chain would wait for the adder.
    rounds = max(1, PLAIN_REGISTERS[-1] // registers)
    held += [zeros(element, LANES)] * (registers * (rounds - 1))

    def products(unit: Any, held: list[Any]) -> list[Any]:
        added = []
        for turn in range(len(held) // registers):
            number = builder.add(unit, I64(turn))
            start = builder.add(at, builder.mul(number, I64(per_unit)))
            value = builder.bitcast(builder.gep(pixels, [start]), rows.type)
            value = splat(builder, builder.load(value, align=2), LANES)
            first = builder.add(row, builder.mul(number, pitch))
            for k in range(registers):
                weight = load_lanes(builder, rows, builder.add(first, I64(k * LANES)), LANES)
                if paired:
                    product = _emit_pair_products(builder, value, weight, features)
                else:
                    product = multiply(builder, value, weight)
                if element != product.type.element:
                    product = builder.sext(product, ir.VectorType(element, LANES))
                added.append(add(builder, held[turn * registers + k], product))
        return added

    unit, held = loop(builder, I64(0), count, rounds, held, products)
    _, total = loop(builder, unit, count, 1, held[:registers], products)
    for k in range(registers, len(held)):
        total[k % registers] = add(builder, total[k % registers], held[k])
    for slot, value in zip(slots, total, strict=True):
        store_lanes(builder, value, target, slot)


def _add_products_intrinsic(
    _: Any,
    pixels: Any,
    at: Any,
    count: Any,
    rows: Any,
    row: Any,
    pitch: Any,
    target: Any,
    to: Any,
    registers: Any,
) -> Any:
    signature = types.void(pixels, at, count, rows, row, pitch, target, to, registers)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *operands, registers = pointers(context, builder, signature, args)

        def case(number: int) -> Any:
            return lambda: _emit_products(builder, operands, number, features)

        *_, features = context.codegen().magic_tuple()
        # The powers of two, by their logarithm.
        number = builder.cttz(registers, ir.Constant(ir.IntType(1), 0))
        switch(builder, number, [case(count) for count in PLAIN_REGISTERS])
        return context.get_dummy_value()

    return signature, codegen


def add_products_loop(
    pixels: NDArray[Any],
    at: int,
    count: int,
    rows: NDArray[Any],
    row: int,
    pitch: int,
    target: NDArray[Any],
    to: int,
    registers: int,
) -> None:
    """Plain twin: ``target[to:] += pixels[at + i] * rows[row + i * pitch:]`` for ``i < count``.

    Everything is flat and of one type, or int16 pixels, int32 rows of pairs, and i counts pairs;
    ``registers`` vectors of 16 lanes, a power of two, are added for each.
    """
    lanes = registers * LANES
    exact: Any = float if target.dtype.kind == "f" else object
    for number in range(count):
        start = row + number * pitch
        assert 0 <= start <= rows.size - lanes
        weights = rows[start : start + lanes]
        if pixels.dtype == np.int16:
            pair = pixels[at + 2 * number : at + 2 * number + 2].astype(object)
            product = (weights.view(np.int16).reshape(-1, 2).astype(object) * pair).sum(1)
        else:
            product = weights.astype(exact) * pixels[at + number]
        total = target[to : to + lanes].astype(exact) + product
        target[to : to + lanes] = total
        assert exact is float or (target[to : to + lanes] == total).all()


_add_products = vector_ir(_add_products_intrinsic, twin=add_products_loop)


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
    first_row: int,
    last_row: int,
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
        tile: room for the sums of a line, T[W' * O], and L more.
        finish: see `Finish`; positions are numbered ``y * W' + x``.
        first_row: first output row to work on.
        last_row: one past the last.
    """
    kernel_height, units, pitch = shape
    outputs = finish.bias.shape[1]
    for oy in range(first_row, last_row):
        clear(tile)
        for ky in range(kernel_height):
            line = (oy * stride[0] + ky) * line_pixels
            for ox in range(columns):
                at = line + ox * stride[1] * channels
                lane = 0
                while lane < pitch:
                    registers = whole_registers((pitch - lane) // LANES)
                    row, to = ky * units * pitch + lane, ox * outputs + lane
                    _add_products(pixels, at, units, weights, row, pitch, tile, to, registers)
                    lane += registers * LANES
        finish_row(tile, 0, oy * columns, columns, finish)
