"""Adding depthwise kernels to membranes: a spike adds a small patch of one channel.

Membranes of one channel lie column by column, and the rows of a column in a ring of ``R`` lanes:
output row y in lane ``y % R``. So the whole patch that a spike reaches is one run of neighbours,
wherever it lies, and patches for every rotation of the ring are made once per network.
"""

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import vector_ir
from s2f_sim.kernels.lanes import (
    I64,
    add,
    element_bytes,
    load_lanes,
    loop,
    pointers,
    store_lanes,
    switch,
)

CHUNK_BYTES = 64
LONGEST = 4
"""A patch of up to so many chunks is held in registers; longer ones are added chunk by chunk."""


def _emit_patches(builder: Any, operands: list[Any], chunks: int) -> None:
    """Emit `add_patches` for patches of ``chunks`` chunks, or of any number if it is 0."""
    index, begin, end, channel, table, base, patch, scratch, at, pitch = operands
    lane = scratch.type.pointee
    lanes = CHUNK_BYTES // element_bytes(lane)

    def chunk(source: Any, target: Any) -> None:
        held = load_lanes(builder, scratch, target, lanes)
        store_lanes(builder, add(builder, held, load_lanes(builder, table, source, lanes)),
                    scratch, target)  # fmt: skip

    def event(number: Any, held: list[Any]) -> list[Any]:
        listed = builder.zext(builder.load(builder.gep(index, [number])), I64)
        row = builder.sub(listed, channel)
        source = builder.add(base, builder.mul(row, patch))
        target = builder.add(at, builder.mul(row, pitch))
        for k in range(chunks):
            offset = I64(k * lanes)
            chunk(builder.add(source, offset), builder.add(target, offset))
        if not chunks:

            def one(offset: Any, inner: list[Any]) -> list[Any]:
                chunk(builder.add(source, offset), builder.add(target, offset))
                return inner

            loop(builder, I64(0), patch, lanes, [], one)
        return held

    loop(builder, begin, end, 1, [], event)


def _add_patches_intrinsic(
    _: Any,
    index: Any,
    begin: Any,
    end: Any,
    channel: Any,
    table: Any,
    base: Any,
    patch: Any,
    scratch: Any,
    at: Any,
    pitch: Any,
    chunks: Any,
) -> Any:
    signature = types.void(
        index, begin, end, channel, table, base, patch, scratch, at, pitch, chunks
    )

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *operands, chunks = pointers(context, builder, signature, args)

        def case(number: int) -> Any:
            return lambda: _emit_patches(builder, operands, number)

        switch(builder, chunks, [case(number) for number in range(LONGEST + 1)])
        return context.get_dummy_value()

    return signature, codegen


def add_patches_loop(
    index: NDArray[Any],
    begin: int,
    end: int,
    channel: int,
    table: NDArray[Any],
    base: int,
    patch: int,
    scratch: NDArray[Any],
    at: int,
    pitch: int,
    chunks: int,
) -> None:
    """Plain twin: ``scratch[at + c * pitch:] += table[base + c * patch:]`` for every event of c.

    Args:
        index: uint32 events.
        begin: the first event.
        end: one past the last.
        channel: what an event of channel 0 is listed as.
        table: flat patches, of the type of ``scratch``.
        base: element of channel 0's patch.
        patch: lanes of a patch, whole chunks.
        scratch: flat membranes.
        at: element at which channel 0's patch begins.
        pitch: elements from one channel to the next.
        chunks: of a patch; 0 if it has more than `LONGEST`.
    """
    lanes = CHUNK_BYTES // scratch.itemsize
    assert patch % lanes == 0
    assert chunks == (patch // lanes if patch // lanes <= LONGEST else 0)
    for event in index[begin:end]:
        row = int(event) - channel
        source, target = base + row * patch, at + row * pitch
        assert 0 <= source <= table.size - patch
        assert 0 <= target <= scratch.size - patch
        total = scratch[target : target + patch].astype(np.float64) + table[source : source + patch]
        scratch[target : target + patch] = total
        assert scratch.dtype.kind == "f" or (scratch[target : target + patch] == total).all()


add_patches = vector_ir(_add_patches_intrinsic, twin=add_patches_loop)
