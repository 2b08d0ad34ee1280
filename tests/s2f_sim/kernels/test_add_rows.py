"""Packed rows, added up, against sums of the weights they were packed from."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from s2f_sim.kernels.add_rows import SHAPES, add_rows, add_rows_loop
from s2f_sim.kernels.packing import CACHE_BYTES, PackedRows, longest_burst, pack_rows
from s2f_sim.kernels.plain_rows import PLAIN_REGISTERS, add_plain_rows, add_plain_rows_loop

KINDS = [(np.int8, np.int32), (np.int8, np.int64), (np.int16, np.int32), (np.int16, np.int64)]


@njit
def compiled(
    index: NDArray[Any],
    lanes: NDArray[Any],
    blocks: NDArray[Any],
    burst: int,
    target: NDArray[Any],
) -> None:
    for block in range(blocks.shape[0]):
        output, shape, base, pitch, silence = blocks[block]
        add_rows(index, 0, index.size, lanes, base, pitch, target, output, burst, silence, shape)


def plain(index: NDArray[Any], packed: PackedRows, target: NDArray[Any]) -> None:
    for output, shape, base, pitch, silence in packed.blocks.tolist():
        arguments = (packed.lanes, base, pitch, target, output, packed.burst, silence, shape)
        add_rows_loop(index, 0, index.size, *arguments)


def extreme(rng: np.random.Generator, shape: tuple[int, int], kind: Any) -> NDArray[Any]:
    """Weights that are mostly as large as they can be."""
    info = np.iinfo(kind)
    drawn = rng.choice([info.min, -1, 0, 1, info.max], shape, p=[0.4, 0.1, 0.1, 0.0, 0.4])
    return drawn.astype(kind)


@pytest.mark.parametrize(("kind", "wide"), KINDS)
@given(
    rows=st.integers(1, 40),
    outputs=st.integers(1, 300),
    events=st.integers(0, 700),
    cache=st.sampled_from([0, 4096, CACHE_BYTES, 1 << 30]),
    one_sided=st.booleans(),
    seed=st.integers(0, 2**16),
)
@example(rows=1, outputs=96, events=259, cache=0, one_sided=True, seed=0)
def test_pairs_add_up_to_the_weights(
    kind: Any,
    wide: Any,
    rows: int,
    outputs: int,
    events: int,
    cache: int,
    one_sided: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    weight = extreme(rng, (rows, outputs), kind)
    if one_sided:
        weight[:] = np.iinfo(kind).min
    index = rng.integers(0, rows, events).astype(np.uint32)
    packed = pack_rows(weight, cache)
    expected = weight.astype(np.int64)[index].sum(0)
    for add in (
        lambda target: compiled(index, packed.lanes, packed.blocks, packed.burst, target),
        lambda target: plain(index, packed, target),
    ):
        target = np.full(outputs + 512, 5, wide)
        add(target)
        np.testing.assert_array_equal(target[:outputs], expected + 5)
        assert (target[outputs:] == 5).all()


@given(outputs=st.integers(1, 300), events=st.integers(0, 60), seed=st.integers(0, 2**16))
def test_float_rows_add_up(outputs: int, events: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-9, 10, (7, outputs)).astype(np.float32)
    index = rng.integers(0, 7, events).astype(np.uint32)
    packed = pack_rows(weight)
    first, second = (np.zeros(outputs + 512, np.float32) for _ in range(2))
    compiled(index, packed.lanes, packed.blocks, packed.burst, first)
    plain(index, packed, second)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[:outputs], weight[index].sum(0))


@pytest.mark.parametrize("kind", [np.int8, np.int16])
def test_every_shape_of_block_is_used(kind: Any) -> None:
    per_register = 64 // np.dtype(kind).itemsize
    used = {
        int(shape)
        for outputs in range(1, 4 * per_register + 1)
        for shape in pack_rows(np.ones((2, outputs), kind)).blocks[:, 1]
    }
    assert used == set(range(len(SHAPES)))


def test_blocks_fit_the_cache() -> None:
    weight = np.ones((1000, 256), np.int8)
    assert len(pack_rows(weight, CACHE_BYTES).blocks) == 4
    assert len(pack_rows(weight, 1000 * 256).blocks) == 1


@pytest.mark.parametrize(("weight", "burst"), [(127, 258), (-128, 255), (1, 32767), (0, 32767)])
def test_bursts_are_as_long_as_the_largest_weight_allows(weight: int, burst: int) -> None:
    assert longest_burst(np.array([[0, weight]], np.int8)) == burst
    assert longest_burst(np.array([[0, weight]], np.int16)) == (2**31 - 1) // max(abs(weight), 1)


@njit
def compiled_plain(
    index: NDArray[Any], rows: NDArray[Any], pitch: int, target: NDArray[Any], registers: int
) -> None:
    add_plain_rows(index, 0, index.size, rows, 16, pitch, target, 16, registers)


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float32])
@given(
    registers=st.sampled_from(PLAIN_REGISTERS),
    events=st.integers(0, 40),
    seed=st.integers(0, 2**16),
)
def test_plain_rows_add_up(kind: Any, registers: int, events: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pitch = 16 * registers
    rows = rng.integers(-9, 10, 16 + 5 * pitch).astype(kind)
    index = rng.integers(0, 5, events).astype(np.uint32)
    first, second = (np.ones(pitch + 32, kind) for _ in range(2))
    compiled_plain(index, rows, pitch, first, registers)
    add_plain_rows_loop(index, 0, events, rows, 16, pitch, second, 16, registers)
    np.testing.assert_array_equal(first, second)
    expected = rows[16:].reshape(5, pitch)[index].sum(0)
    np.testing.assert_array_equal(first[16:-16], expected + 1)
    assert (first[[0, 15, -16, -1]] == 1).all()
