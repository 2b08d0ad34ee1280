"""Checkpoints made to attack whoever reads them, one of every kind, written opcode by opcode."""

import io
import math
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence

import torch

import s2f_models

Content = Callable[[], bytes]
PROTO = b"\x80\x02"
SYSTEM = b"cposix\nsystem\n"
NAMESPACE = b"cargparse\nNamespace\n"
FLOAT = b"ctorch\nFloatStorage\n"
TERABYTES = 1 << 42
SMALL = (8, 8, 8, 16)


def text(value: str) -> bytes:
    """BINUNICODE."""
    encoded = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


COMMAND = text("touch sentinel")


def number(value: int) -> bytes:
    """BININT, or LONG1 where that is too small."""
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    length = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)


def several(*parts: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def dictionary(entries: Mapping[str, bytes]) -> bytes:
    """A dictionary with texts as keys."""
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def storage(numel: bytes, key: str = "0", kind: bytes = FLOAT) -> bytes:
    """A storage by torch's persistent id."""
    return several(text("storage"), kind, text(key), text("cpu"), numel) + b"Q"


def tensor(
    shape: Sequence[int], stride: Sequence[int], offset: int = 0, stored: bytes | None = None
) -> bytes:
    """A view of a storage; of one with four values, if none is given."""
    numbers = (several(*map(number, listed)) for listed in (shape, stride))
    arguments = several(stored or storage(number(4)), number(offset), *numbers, b"\x89", b"}")
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def archive(
    program: bytes,
    stored: bytes = bytes(16),
    *,
    stop: bytes = b".",
    order: bytes = b"little",
    how: int = zipfile.ZIP_STORED,
) -> bytes:
    """A checkpoint around a pickle without its ends."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as members:
        for name, content in (
            ("data.pkl", PROTO + program + stop),
            ("byteorder", order),
            ("data/0", stored),
        ):
            members.writestr(f"net/{name}", content)
    return file.getvalue()


def model(value: bytes) -> Content:
    """A checkpoint with this under ``model``."""
    return lambda: archive(dictionary({"model": value}))


def weight(value: bytes) -> Content:
    """A state dict with this as its first entry and a good tensor behind it."""
    good = tensor([4], [1])
    return lambda: archive(dictionary({"head.weight": value, "head.bias": good}))


def getattr_of(value: bytes, name: str) -> bytes:
    return b"c__builtin__\ngetattr\n" + value + text(name) + b"\x86R"


def doubled(times: int) -> bytes:
    """A tuple of itself twice, over and over: 2 ** times leaves."""
    return b")q\x00" + b"".join(b"0h%ch%c\x86q%c" % (i, i, i + 1) for i in range(times))


def laughing_lists(times: int) -> bytes:
    """A list of ten times a list of ten times a list, and so on."""
    program = b"]q\x00"
    for i in range(times):
        program += b"0](" + b"h%c" % i * 10 + b"eq%c" % (i + 1)
    return program


def reduced(times: int) -> bytes:
    """Objects whose one argument is the object before, and whose state is, too."""
    return b")" + (b"\x85q\x000cmodels\nA\nh\x00R" + b"h\x00b") * times


def sizes_of(widths: tuple[int, int, int, int], blocks: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an E-SpikeFormer."""
    with torch.device("meta"):
        network = s2f_models.create(
            "e_spikeformer_cifar10", embed_dims=widths, depths=(blocks, blocks)
        )
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def state_dict(sizes: Mapping[str, tuple[int, ...]]) -> bytes:
    """A state dict in which every tensor is the beginning of the one storage there is."""
    numel = max(math.prod(shape) for shape in sizes.values())
    one = storage(number(numel))
    entries = {}
    for name, shape in sizes.items():
        stride: list[int] = []
        step = 1
        for size in reversed(shape):
            stride.insert(0, step)
            step *= size
        entries[name] = tensor(shape, stride, stored=one)
    return archive(dictionary(entries), bytes(4 * numel))


def everything_shared() -> bytes:
    """A network of 470 MB in a file of 5 MB."""
    return state_dict(sizes_of((64, 64, 512, 512), 10))


def many_blocks() -> bytes:
    """A name is enough for a block."""
    blocks = {f"block3.{i}.x": (1,) for i in range(1000)}
    return state_dict(sizes_of(SMALL, 1) | blocks | {"unused.x": (1 << 16,)})


def absent_layers() -> bytes:
    """A network whose every layer shares one long list of parameters that it does not have."""
    absent = b"}q\x01(" + b"".join(text(f"p{i}") + b"N" for i in range(10_000)) + b"u0"
    layer = b"cmodels\nA\n)\x81q\x02}" + text("_parameters") + b"h\x01sb0"
    layers = {f"l{i}": b"h\x02" for i in range(15_000)}
    detector = b"cultralytics.nn.tasks\nDetectionModel\n)\x81"
    return archive(absent + layer + detector + dictionary({"_modules": dictionary(layers)}) + b"b")


def own_ancestor() -> bytes:
    detector = b"cultralytics.nn.tasks\nDetectionModel\n)\x81q\x01"
    return archive(detector + dictionary({"_modules": dictionary({"child": b"h\x01"})}) + b"b")


def good() -> bytes:
    return archive(dictionary({"head.weight": tensor([4], [1])}))


def cut_pickle() -> bytes:
    program = dictionary({"head.weight": tensor([4], [1])})
    return archive(program[: len(program) // 2], stop=b"")


def twice() -> bytes:
    """The second member of a name hides the first from some readers, not from all."""
    file = io.BytesIO(good().replace(b"net/byteorder", b"net/databytes"))
    with zipfile.ZipFile(file, "a") as members:
        members.writestr("net/data_pkl", b"\x80\x02" + SYSTEM + COMMAND + b"\x85R.")
    return file.getvalue().replace(b"net/data_pkl", b"net/data.pkl")


def bomb() -> bytes:
    return archive(text("0" * 20_000_000), how=zipfile.ZIP_DEFLATED)


def hidden_bomb() -> bytes:
    """The directory says "stored", and names a size that no file could hold."""
    content = bytearray(good())
    entry = content.index(b"PK\x01\x02")
    struct.pack_into("<II", content, entry + 20, 0xFFFFFF00, 0xFFFFFF00)
    return bytes(content)


def old_container(saved: bytes, behind: bytes = b"") -> bytes:
    """As torch saved before its archives."""
    magic = b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
    system = b"}(" + text("little_endian") + b"\x88u"
    pickles = (magic, b"M\xe9\x03", system, saved)
    return b"".join(PROTO + pickled + b"." for pickled in pickles) + behind


def old_and_big_endian() -> bytes:
    return old_container(b"}").replace(b"\x88u.", b"\x89u.")


def old_and_endless() -> bytes:
    """A storage of terabytes, and the table that says where its values would be."""
    saved = dictionary({"head.weight": tensor([4], [1], stored=storage(number(TERABYTES)))})
    table = PROTO + b"]" + text("0") + b"a."
    return old_container(saved, table + struct.pack("<q", TERABYTES) + bytes(64))
