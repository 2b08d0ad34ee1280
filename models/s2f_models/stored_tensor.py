"""Tensors of a checkpoint: where their values lie in the file, checked before they are read."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from s2f_models.stand_in import Named, RefusedError, StandIn

_STORAGE_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}
_MAX_AXES = 64
_MAX_ELEMENTS = 2**62


def _is_count(number: object) -> bool:
    """Whether a number from the file can be a size at all; ``True`` cannot."""
    return type(number) is int and 0 <= number < _MAX_ELEMENTS


@dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """A flat run of ``numel`` values; ``content`` fetches its bytes, little endian."""

    key: str
    dtype: torch.dtype
    numel: int
    content: Callable[[], bytes | memoryview]

    @property
    def size_bytes(self) -> int:
        """Bytes in the file."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True, eq=False, slots=True)
class StoredTensor:
    """A strided view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.stride) or len(self.shape) > _MAX_AXES:
            raise RefusedError("a tensor has a shape and strides that do not belong together")
        numbers = (self.offset, *self.shape, *self.stride)
        if not all(_is_count(number) for number in numbers):
            raise RefusedError("a tensor has a shape, stride or offset that is no plain count")
        if math.prod(max(size, 1) for size in self.shape) > _MAX_ELEMENTS:
            raise RefusedError("a tensor has more elements than any file could hold")
        if self.extent and self.offset + self.extent > self.storage.numel:
            raise RefusedError(
                f"a tensor reaches to element {self.offset + self.extent:,} of a storage that "
                f"has {self.storage.numel:,}"
            )

    @property
    def extent(self) -> int:
        """Elements from the first to the last, gaps included."""
        if 0 in self.shape:
            return 0
        pairs = zip(self.shape, self.stride, strict=True)
        return 1 + sum((size - 1) * stride for size, stride in pairs)

    def read(self) -> Tensor:
        """A copy of the values in the shape and dtype the file gives them.

        Raises:
            RefusedError: the shape repeats elements, or the file has fewer bytes than it says.
        """
        # Strides of zero would let a small file fill the memory.
        if math.prod(self.shape) > self.storage.numel:
            raise RefusedError("a tensor has more elements than its storage")
        dtype = self.storage.dtype
        if not self.extent:
            return torch.empty(self.shape, dtype=dtype)
        first = self.offset * dtype.itemsize
        used = memoryview(self.storage.content())[first : first + self.extent * dtype.itemsize]
        if len(used) != self.extent * dtype.itemsize:
            raise RefusedError("the values of a tensor are cut off")
        # A byte other than 0 and 1 is no bool, and what torch would make of it is undefined.
        flat = torch.frombuffer(
            bytearray(used), dtype=torch.uint8 if dtype.itemsize == 1 else dtype
        )
        flat = flat != 0 if dtype is torch.bool else flat.view(dtype)
        return flat.as_strided(self.shape, self.stride)


def storage_from_id(
    persistent_id: object, content_of: Callable[[str], Callable[[], bytes | memoryview]]
) -> Storage | StandIn:
    """Read ``('storage', class, key, location, numel[, None])``, torch's id of a storage.

    The location (``cuda:0``) is ignored. Storages of types no network here has (complex,
    quantised, untyped) are stand-ins: only what is used as a weight has to be understood.

    Raises:
        RefusedError: any other id.
    """
    match persistent_id:
        case ("storage", Named() as kind, str(key), str(), int(numel)) if _is_count(numel):
            pass
        case ("storage", Named() as kind, str(key), str(), int(numel), None) if _is_count(numel):
            pass
        case _:
            raise RefusedError("the file refers to outside objects as torch.save never does")
    if kind.module != "torch" or kind.name not in _STORAGE_DTYPES:
        return StandIn(kind, (key, numel))
    return Storage(key, _STORAGE_DTYPES[kind.name], numel, content_of(key))


def rebuild_tensor(named: Named, args: tuple[object, ...]) -> StoredTensor | StandIn:
    """What ``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)`` builds."""
    match args:
        case (Storage() as storage, int(offset), tuple(shape), tuple(stride), *_):
            return StoredTensor(storage, offset, shape, stride)
        case (StandIn(), *_):
            return StandIn(named, args)
        case _:
            raise RefusedError("a tensor is not described the way torch.save does it")
