import math

import pytest
import torch

from s2f_models.stand_in import Named, RefusedError, StandIn
from s2f_models.stored_tensor import Storage, StoredTensor, rebuild_tensor, storage_from_id

VALUES = torch.arange(12, dtype=torch.float32)
STORAGE = Storage("0", torch.float32, 12, VALUES.numpy().tobytes)
REBUILD = Named("torch._utils", "_rebuild_tensor_v2")


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (12,), (1,)),
        (2, (2, 3), (3, 1)),
        (1, (3, 2), (1, 4)),
        (11, (), ()),
        (12, (0, 5), (5, 1)),
        (3, (2, 2, 2), (0, 4, 1)),
    ],
)
def test_view_is_what_torch_makes_of_it(
    offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    stored = StoredTensor(STORAGE, offset, shape, stride)
    assert torch.equal(stored.read(), VALUES.as_strided(shape, stride, offset))


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (13,), (1,)),
        (1, (12,), (1,)),
        (0, (2,), (12,)),
        (-1, (2,), (1,)),
        (0, (-2,), (1,)),
        (4, (2,), (-1,)),
        (0, (2, 3), (1,)),
        (True, (2,), (1,)),
        (0, (2.0,), (1,)),
        (0, ("2",), (1,)),
        (0, (2**70,), (0,)),
        (0, (2**40, 2**40, 0), (0, 0, 0)),
        (0, (1,) * 100, (1,) * 100),
        (2**61, (2,), (2**61,)),
    ],
)
def test_view_past_its_storage_is_refused(offset: object, shape: object, stride: object) -> None:
    with pytest.raises(RefusedError):
        rebuild_tensor(REBUILD, (STORAGE, offset, shape, stride, False, None))


def test_repeated_elements_cannot_fill_the_memory() -> None:
    stored = StoredTensor(STORAGE, 0, (2**30, 2**30), (0, 0))
    with pytest.raises(RefusedError, match="more elements than its storage"):
        stored.read()


def test_missing_bytes_are_refused() -> None:
    cut = Storage("0", torch.float64, 12, VALUES.numpy().tobytes)
    with pytest.raises(RefusedError, match="cut off"):
        StoredTensor(cut, 0, (12,), (1,)).read()


def test_bytes_that_are_no_bool_become_true() -> None:
    storage = Storage("0", torch.bool, 4, lambda: bytes([0, 1, 2, 255]))
    read = StoredTensor(storage, 0, (4,), (1,)).read()
    assert read.dtype is torch.bool
    assert read.view(torch.uint8).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    "persistent_id",
    [
        None,
        "0",
        (),
        ("storage",),
        ("module", Named("torch", "FloatStorage"), "0", "cpu", 4),
        ("storage", "FloatStorage", "0", "cpu", 4),
        ("storage", Named("torch", "FloatStorage"), 0, "cpu", 4),
        ("storage", Named("torch", "FloatStorage"), "0", "cpu", -4),
        ("storage", Named("torch", "FloatStorage"), "0", "cpu", True),
        ("storage", Named("torch", "FloatStorage"), "0", "cpu", 4, (1, 2)),
    ],
)
def test_foreign_persistent_id_is_refused(persistent_id: object) -> None:
    with pytest.raises(RefusedError):
        storage_from_id(persistent_id, lambda _: bytes)


def test_storage_of_a_type_no_network_has_is_a_stand_in() -> None:
    kind = Named("torch", "ComplexFloatStorage")
    storage = storage_from_id(("storage", kind, "0", "cpu", 4), lambda _: bytes)
    assert isinstance(storage, StandIn)
    assert isinstance(rebuild_tensor(REBUILD, (storage, 0, (4,), (1,))), StandIn)


def test_location_is_ignored() -> None:
    kind = Named("torch", "DoubleStorage")
    storage = storage_from_id(("storage", kind, "0", "cuda:7", 4), lambda _: bytes)
    assert isinstance(storage, Storage)
    assert storage.size_bytes == 4 * math.prod((2, 4))
