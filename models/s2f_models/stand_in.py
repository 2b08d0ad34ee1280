"""What a pickle may name, and the inert objects that take the place of what it names."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from s2f_models.errors import shown


class RefusedError(Exception):
    """A file that is not read on; whoever knows its path turns this into a CheckpointError."""

    def __init__(self, what: str, fix: str = "save or download the file again") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Named:
    """A class or function as the file names it: never looked up, never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


@dataclass(eq=False, slots=True)
class StandIn:
    """An object the file describes, as it describes it.

    Attributes:
        named: its class, or the function that was to build it.
        args: what that was to be called with.
        state: what was to become its ``__dict__`` (or to be passed to ``__setstate__``).
        items: what was to be appended to it, or ``(key, value)`` pairs that were to be set.
    """

    named: Named
    args: tuple[object, ...]
    state: object = None
    items: list[object] = field(default_factory=list)


# Python 2 names, which pickles of protocol 2 use.
_RENAMED_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}

# Packages that trained models and their training state come from; every class in them is inert.
_PACKAGES = (
    "__main__",
    "mmcv",
    "mmdet",
    "mmengine",
    "mmseg",
    "models",
    "numpy.dtypes",
    "spikingjelly",
    "timm",
    "torch.amp",
    "torch.cuda.amp",
    "torch.nn",
    "torch.optim",
    "ultralytics",
)


_MAX_NAME = 300


def _qualified(module: str, names: str) -> Iterable[str]:
    return (f"{module}.{name}" for name in names.split())


_NAMES = frozenset(
    {
        "argparse.Namespace",
        "_codecs.encode",
        "torch._tensor._rebuild_from_type_v2",
        *_qualified("builtins", "bool bytearray bytes complex dict float frozenset int list"),
        *_qualified("builtins", "getattr object range set slice str tuple"),
        *_qualified("collections", "Counter OrderedDict defaultdict deque"),
        *_qualified("datetime", "date datetime timedelta timezone"),
        *_qualified("pathlib", "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"),
        *_qualified("numpy", "dtype ndarray bool_ float16 float32 float64 int32 int64 uint8"),
        *_qualified("numpy.core.multiarray", "_reconstruct scalar"),
        *_qualified("numpy._core.multiarray", "_reconstruct scalar"),
        *_qualified("torch", "Size Tensor device strided contiguous_format preserve_format"),
        *_qualified("torch", "bfloat16 bool float16 float32 float64 int16 int32 int64 int8 uint8"),
        *_qualified("torch", "BFloat16Storage BoolStorage ByteStorage CharStorage DoubleStorage"),
        *_qualified("torch", "FloatStorage HalfStorage IntStorage LongStorage ShortStorage"),
        *_qualified("torch", "ComplexDoubleStorage ComplexFloatStorage UntypedStorage"),
        *_qualified("torch.storage", "TypedStorage UntypedStorage"),
        *_qualified("torch._utils", "_rebuild_parameter _rebuild_parameter_with_state"),
        *_qualified("torch._utils", "_rebuild_qtensor _rebuild_sparse_tensor _rebuild_tensor"),
        *_qualified("torch._utils", "_rebuild_tensor_v2 _rebuild_tensor_v3"),
        *_qualified("torch._utils", "_rebuild_device_tensor_from_numpy"),
    }
)


def named(module: str, name: str) -> Named:
    """The marker for a class or function, if checkpoints have any business naming it.

    Nothing a file names is ever run, so this is the second fence: a file that names anything
    but model code, containers and plain values was made to attack some other reader.

    Raises:
        RefusedError: a name outside the lists above, or one that is no plain identifier.

    >>> str(named("__builtin__", "set"))
    'builtins.set'
    >>> named("posix", "system")
    Traceback (most recent call last):
    s2f_models.stand_in.RefusedError: the file names posix.system, which this reader never runs
    """
    if len(module) + len(name) > _MAX_NAME:
        raise RefusedError(f"the file names a class in more than {_MAX_NAME} characters")
    module = _RENAMED_MODULES.get(module, module)
    wanted = Named(module, name)
    # Attribute paths and double underscores lead out of any package: models.x.os.system.
    plain = all(part.isidentifier() for part in (*module.split("."), name))
    private = name.startswith("__")
    known = any(module == package or module.startswith(f"{package}.") for package in _PACKAGES)
    if plain and not private and (known or f"{module}.{name}" in _NAMES):
        return wanted
    raise never_runs(wanted)


def never_runs(wanted: Named) -> RefusedError:
    """The error for a name that checkpoints have no business with."""
    return RefusedError(
        f"the file names {wanted}, which this reader never runs",
        "load it with the code that wrote it in an environment you trust "
        "and save model.state_dict() alone",
    )
