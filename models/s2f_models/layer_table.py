"""The layer table of a SpikeYOLO: which layer reads which, as the official yaml files say it.

A table is data: published files differ in single cells (row 25's ratio), and every checkpoint
carries its own. Reading one trusts nothing in it.

Source: Luo et al. 2024 (SpikeYOLO), arXiv:2407.20708.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from s2f_models.errors import shown
from s2f_models.stand_in import RefusedError

Args = tuple[float, ...]

DETECT = "SpikeDetect"
BLOCKS = ("MS_AllConvBlock", "MS_ConvBlock")
STRIDES = (8, 16, 32)
_MAX_SOURCES = 8
# Beyond any published network by far; they keep a made-up table from asking for absurd layers.
_MIN_ROWS, _MAX_ROWS, _MAX_REPEATS, _MAX_CHANNELS = 2, 200, 100, 1 << 16
_MAX_KERNEL, _MAX_STRIDE, _MAX_RATIO, _LEAST_RATIO, _MAX_TIMESTEPS = 31, 8, 16, 0.25, 64
_FIX = "give a checkpoint of the official SpikeYOLO code"


@dataclass(frozen=True, slots=True)
class Row:
    """One layer, or a stage of equal blocks.

    Attributes:
        sources: rows it reads, absolute; the first row reads the image.
        repeats: blocks before the depth of the scale is applied.
        kind: upstream's name of the layer.
        args: numbers of the layer, in upstream's order: of a downsampling its channels, kernel,
            stride, padding and whether it is the first; of a block its ratio and kernel; of a
            convolution its channels, kernel and stride; of a pooling its channels and window.
            Other layers have none.
    """

    sources: tuple[int, ...]
    repeats: int
    kind: str
    args: Args = ()

    @property
    def sets_channels(self) -> bool:
        """Whether its first argument is its number of channels."""
        return self.kind in ("MS_DownSampling", "MS_StandardConv", "SpikeSPPF")


Table = tuple[Row, ...]


def published_table(deep_repeats: int = 3, last_ratio: int = 1) -> Table:
    """The table of ``snn_yolov8.yaml``; its two copies differ in how often row 8 is repeated.

    Args:
        deep_repeats: of row 8: 3 for COCO, 1 for Gen1.
        last_ratio: of row 25; the large COCO networks were trained with 2.
    """
    lines: list[tuple[str, Args, int, tuple[int, ...]]] = [
        ("MS_GetT", (), 1, ()),
        ("MS_DownSampling", (128, 7, 4, 2, 1), 1, ()),
        ("MS_AllConvBlock", (4, 7), 3, ()),
        ("MS_DownSampling", (256, 3, 2, 1, 0), 1, ()),
        ("MS_AllConvBlock", (4, 7), 6, ()),
        ("MS_DownSampling", (512, 3, 2, 1, 0), 1, ()),
        ("MS_ConvBlock", (3, 7), 9, ()),
        ("MS_DownSampling", (1024, 3, 2, 1, 0), 1, ()),
        ("MS_ConvBlock", (2, 7), deep_repeats, ()),
        ("SpikeSPPF", (1024, 5), 1, ()),
        ("MS_StandardConv", (512, 1, 1), 1, ()),
        ("nn.Upsample", (), 1, ()),
        ("MS_ConvBlock", (3, 7), 1, ()),
        ("Concat", (), 1, (12, 6)),
        ("MS_StandardConv", (256, 1, 1), 1, ()),
        ("nn.Upsample", (), 1, ()),
        ("MS_AllConvBlock", (4, 7), 1, ()),
        ("Concat", (), 1, (16, 4)),
        ("MS_StandardConv", (256, 1, 1), 1, ()),
        ("MS_AllConvBlock", (4, 7), 1, ()),
        ("MS_StandardConv", (256, 3, 2), 1, ()),
        ("Concat", (), 1, (20, 14)),
        ("MS_ConvBlock", (3, 7), 1, ()),
        ("MS_StandardConv", (512, 3, 2), 1, ()),
        ("Concat", (), 1, (23, 10)),
        ("MS_ConvBlock", (last_ratio, 7), 1, ()),
        (DETECT, (), 1, (19, 22, 25)),
    ]
    return tuple(
        Row(sources or (i - 1,), repeats, kind, args)
        for i, (kind, args, repeats, sources) in enumerate(lines)
    )


def changed_table(table: Table, changes: Mapping[int, tuple[int, Args]]) -> Table:
    """The same connections with other repeats and arguments in some rows."""
    rows = list(table)
    for index, (repeats, args) in changes.items():
        rows[index] = replace(rows[index], repeats=repeats, args=args)
    return tuple(rows)


def read_table(entries: Mapping[object, object]) -> tuple[Table, int]:
    """The table of a yaml dictionary, and the time steps it says.

    Raises:
        RefusedError: it is no table of layers that a SpikeYOLO is made of.
    """
    listed = [entries.get("backbone"), entries.get("head")]
    lines = [line for part in listed if isinstance(part, list) for line in part]
    if not _MIN_ROWS <= len(lines) <= _MAX_ROWS:
        raise RefusedError("the file's layer table has no backbone and head", _FIX)
    rows = tuple(_row(i, line) for i, line in enumerate(lines))
    _check_order(rows)
    steps = _numbers(0, lines[0][3], (_MAX_CHANNELS, _MAX_TIMESTEPS))[1]
    return rows, int(steps)


def _check_order(rows: Table) -> None:
    kinds = [row.kind for row in rows]
    ends = kinds[0] == "MS_GetT" and kinds[-1] == DETECT
    if not ends or kinds.count("MS_GetT") != 1 or kinds.count(DETECT) != 1:
        raise RefusedError("the file's layer table does not lead from an image to one head", _FIX)
    strides: list[Fraction] = []
    for row in rows:
        read = {strides[source] if source >= 0 else Fraction(1) for source in row.sources}
        if len(read) > 1 and row.kind != DETECT:
            raise RefusedError("the file's layer table joins maps of different sizes", _FIX)
        strides.append(read.pop() * _stride(row))
    if [strides[source] for source in rows[-1].sources] != [Fraction(s) for s in STRIDES]:
        raise RefusedError("the file's head does not read maps of strides 8, 16 and 32", _FIX)


def _stride(row: Row) -> Fraction:
    match row.kind:
        case "MS_DownSampling" | "MS_StandardConv":
            return Fraction(row.args[2])
        case "nn.Upsample":
            return Fraction(1, 2)
        case _:
            return Fraction(1)


def _row(index: int, line: object) -> Row:
    match line:
        case [sources, int(repeats), str(kind), list(args)] if kind in _READERS:
            pass
        case [_, _, str(kind), _]:
            raise RefusedError(f"row {index} of the layer table is {shown(kind)}", _FIX)
        case _:
            raise RefusedError(f"row {index} of the layer table is no layer", _FIX)
    allowed = _MAX_REPEATS if kind in BLOCKS else 1
    if isinstance(repeats, bool) or not 1 <= repeats <= allowed:
        raise RefusedError(f"row {index} of the layer table repeats {kind} {repeats} times", _FIX)
    many = kind in ("Concat", DETECT)
    return Row(_sources(index, sources, many=many), repeats, kind, _READERS[kind](index, args))


def _sources(index: int, sources: object, *, many: bool) -> tuple[int, ...]:
    listed = sources if isinstance(sources, list) else [sources]
    if len(listed) > _MAX_SOURCES:
        raise RefusedError(f"row {index} of the layer table reads {len(listed)} rows", _FIX)
    absolute = tuple(
        number if number >= 0 else index + number for number in listed if type(number) is int
    )
    # The first row alone reads what is before it, the image.
    lowest = -1 if index == 0 else 0
    known = all(lowest <= source < max(index, 0) for source in absolute)
    if len(absolute) != len(listed) or not known or not absolute or (len(absolute) > 1) != many:
        raise RefusedError(f"row {index} of the layer table reads rows that it cannot read", _FIX)
    return absolute


def _numbers(index: int, args: Sequence[object], most: Sequence[int], least: float = 1) -> Args:
    """The arguments as numbers, each at most the one in ``most``."""
    numbers = tuple(arg for arg in args[: len(most)] if isinstance(arg, int | float))
    fits = len(numbers) == len(args) == len(most) and all(
        least <= number <= limit for number, limit in zip(numbers, most, strict=True)
    )
    if not fits:
        raise RefusedError(f"row {index} of the layer table has impossible arguments", _FIX)
    return numbers


def _whole(most: Sequence[int], least: int = 1) -> Callable[[int, list[object]], Args]:
    def read(index: int, args: list[object]) -> Args:
        numbers = _numbers(index, args, most, least)
        if any(number != int(number) for number in numbers):
            raise RefusedError(f"row {index} of the layer table has impossible arguments", _FIX)
        return tuple(int(number) for number in numbers)

    return read


def _block(index: int, args: list[object]) -> Args:
    ratio, kernel = _numbers(index, args, (_MAX_RATIO, _MAX_KERNEL), _LEAST_RATIO)
    (odd,) = _odd(index, [kernel])
    return ratio, odd


def _odd(index: int, args: list[object]) -> Args:
    """A kernel or window that keeps the size of what it slides over."""
    (kernel,) = _whole((_MAX_KERNEL,))(index, args)
    if not int(kernel) % 2:
        raise RefusedError(f"row {index} of the layer table has an even kernel", _FIX)
    return (kernel,)


def _pooling(index: int, args: list[object]) -> Args:
    return (*_whole((_MAX_CHANNELS,))(index, args[:1]), *_odd(index, args[1:]))


def _upsample(index: int, args: list[object]) -> Args:
    """Written as texts in the yaml: ``['None', '(1,2,2)', 'nearest']``."""
    match args:
        case [None | "None", "(1,2,2)" | "(1, 2, 2)" | [1, 2, 2] | (1, 2, 2), "nearest"]:
            return ()
        case _:
            raise RefusedError(f"row {index} of the layer table resizes in another way", _FIX)


def _concat(index: int, args: list[object]) -> Args:
    if args != [2]:
        raise RefusedError(f"row {index} of the layer table joins another axis", _FIX)
    return ()


_READERS: Mapping[str, Callable[[int, list[object]], Args]] = {
    "MS_GetT": lambda index, args: _numbers(index, args, (_MAX_CHANNELS, _MAX_TIMESTEPS))[:0],
    "MS_DownSampling": _whole((_MAX_CHANNELS, _MAX_KERNEL, _MAX_STRIDE, _MAX_KERNEL, 1), least=0),
    **dict.fromkeys(BLOCKS, _block),
    "SpikeSPPF": _pooling,
    "MS_StandardConv": _whole((_MAX_CHANNELS, _MAX_KERNEL, _MAX_STRIDE)),
    "nn.Upsample": _upsample,
    "Concat": _concat,
    DETECT: lambda _index, _args: (),
}
