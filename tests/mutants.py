"""Damage to files, drawn at random: to bytes anywhere, and to what the bytes mean."""

import io
import json
import pickletools
import random
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

Change = Callable[[random.Random, bytes], bytes]

NUMBERS = (0, 1, 2, 3, 5, 7, 8, 16, 31, 32, 33, 62, 63, 64, 127, 128, 255, 256, 1000, 4096, 65_535)
EXTREMES = (-1, -2, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 10**30)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 255, 2**31, 10**400, 0.5, -0.0, 1e308, float("nan")),
    *(float("inf"), "", "x", "\x1b[2J", "[/red]", "\udcff", "é" * 300, [], {}, [[]], {"": None}),
    *([0], [None] * 3, ["a", 1], {"a": {"b": []}}, "event_frames", "letterbox", "detection"),
)


def flipped(source: random.Random, content: bytes) -> bytes:
    """Some bits turned round."""
    changed = bytearray(content)
    for _ in range(source.choice([1, 1, 2, 8])):
        if changed:
            changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    return bytes(changed)


def cut(source: random.Random, content: bytes) -> bytes:
    """The beginning, or the end."""
    at = source.randrange(len(content) + 1)
    return source.choice([content[:at], content[:-1], content[at:]])


def inserted(source: random.Random, content: bytes) -> bytes:
    """Some more bytes in between."""
    at = source.randrange(len(content) + 1)
    more = source.choice([source.randbytes(source.randrange(1, 40)), bytes(8), b"\xff" * 8, b"\n%"])
    return content[:at] + more + content[at:]


def spliced(source: random.Random, content: bytes) -> bytes:
    """Two stretches exchanged, or one left out, or one twice."""
    a, b, c = sorted(source.randrange(len(content) + 1) for _ in range(3))
    return source.choice(
        [
            content[:a] + content[b:c] + content[a:b] + content[c:],
            content[:a] + content[b:],
            content[:b] + content[a:],
        ]
    )


def overwritten(source: random.Random, content: bytes) -> bytes:
    """A number of some width become another."""
    form = source.choice(["<B", "<H", "<I", "<Q", ">H", ">I"])
    width = struct.calcsize(form)
    if len(content) < width:
        return content
    number = source.choice([*NUMBERS, *EXTREMES]) % (1 << 8 * width)
    changed = bytearray(content)
    struct.pack_into(form, changed, source.randrange(len(content) - width + 1), number)
    return bytes(changed)


BYTES: tuple[Change, ...] = (flipped, cut, inserted, spliced, overwritten)


def damaged(source: random.Random, content: bytes) -> bytes:
    """Any of these; half of the time near the beginning, where headers are."""
    head = len(content) if source.random() < 0.5 else min(len(content), 200)
    return source.choice(BYTES)(source, content[:head]) + content[head:]


_NUMBER = re.compile(rb"-?\d+")
_WORD = re.compile(rb"[%@]?[\w./]+")


def renumbered(source: random.Random, content: bytes) -> bytes:
    """A number of a text become another."""
    found = list(_NUMBER.finditer(content))
    if not found:
        return damaged(source, content)
    place = source.choice(found)
    near = (int(place[0][:18]) + source.choice([-1, 1]),)
    number = source.choice([*near * 5, *NUMBERS, *EXTREMES])
    return content[: place.start()] + str(number).encode() + content[place.end() :]


def reworded(source: random.Random, content: bytes) -> bytes:
    """A word of a text in the place of another, or a JSON value there."""
    words = list(_WORD.finditer(content))
    if not words:
        return content
    place, other = source.choice(words), source.choice(words)[0]
    said = source.choice([other, other, json.dumps(source.choice(VALUES)).encode()])
    return content[: place.start()] + said + content[place.end() :]


def relined(source: random.Random, content: bytes) -> bytes:
    """A line of a text left out, twice, elsewhere, or with the end of another."""
    lines = content.split(b"\n")
    a, b = source.randrange(len(lines)), source.randrange(len(lines))
    match source.randrange(4):
        case 0:
            del lines[a]
        case 1:
            lines.insert(b, lines[a])
        case 2:
            lines[a], lines[b] = lines[b], lines[a]
        case _:
            lines[a] = lines[a].partition(b"(")[0] + b"(" + lines[b].partition(b"(")[2]
    return b"\n".join(lines)


TEXT: tuple[Change, ...] = (renumbered, renumbered, reworded, relined)


def retold(source: random.Random, content: bytes) -> bytes:
    """A value somewhere in a JSON document become another, or gone, or told twice."""
    try:
        document = json.loads(content)
    except ValueError:
        return damaged(source, content)
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        inner = waiting.pop()
        pairs = inner.items() if isinstance(inner, dict) else enumerate(inner)
        for key, value in pairs:
            places.append((inner, key))
            if value and isinstance(value, dict | list):
                waiting.append(value)
    holder, key = source.choice(places)
    if source.random() < 0.2:
        del holder[key]
    else:
        holder[key] = source.choice([*VALUES, source.choice(places)[0]])
    try:
        return json.dumps(document).encode()
    except ValueError:
        # A document inside itself, or a number of too many digits.
        return content[: len(content) // 2]


def rewritten(source: random.Random, content: bytes) -> bytes:
    """A count, size, stride or offset of a pickle become another, every opcode as it was."""
    widths = {"BININT1": "<B", "BININT2": "<H", "BININT": "<i"}
    places = [
        (at + 1, widths[opcode.name])
        for opcode, _, at in pickletools.genops(content)
        if opcode.name in widths and at is not None
    ]
    changed = bytearray(content)
    for place, form in source.sample(places, min(len(places), source.choice([1, 1, 3]))):
        most = 2 ** (8 * struct.calcsize(form) - 1) - 1
        struct.pack_into(form, changed, place, source.choice([0, 1, 2, 100, most]))
    return bytes(changed)


_KINDS = {1: "I8 U8 BOOL F8_E4M3", 2: "F16 BF16 I16", 4: "I32 F32 U32", 8: "F64 I64"}


def _parted(content: bytes) -> tuple[bytes, bytes]:
    """The directory of a safetensors file, and its arrays."""
    length = int.from_bytes(content[:8], "little")
    return content[8 : 8 + length], content[8 + length :]


def arrays_retyped(source: random.Random, content: bytes) -> bytes:
    """The directory of a safetensors file changed in its JSON; lengths are right again."""
    head, arrays = _parted(content)
    try:
        entries = json.loads(head)
    except ValueError:
        return damaged(source, content)
    names = sorted(name for name in entries if name != "__metadata__")
    a, b = source.choice(names), source.choice(names)
    match source.randrange(5):
        case 0:
            entries[a]["shape"] = source.sample(entries[a]["shape"], len(entries[a]["shape"]))
        case 1:
            entries[a]["shape"] = [1, *entries[a]["shape"]]
        case 2:
            entries[a], entries[b] = entries[b], entries[a]
        case 3:
            size = entries[a]["data_offsets"][1] - entries[a]["data_offsets"][0]
            width = source.choice(list(_KINDS))
            kind = source.choice(_KINDS[width].split())
            entries[a] |= {"dtype": kind, "shape": [size // width]}
        case _:
            return struct.pack("<Q", len(told := retold(source, head))) + told + arrays
    told = json.dumps(entries).encode()
    return struct.pack("<Q", len(told)) + told + arrays


def arrays_revalued(source: random.Random, content: bytes) -> bytes:
    """Values of arrays become extreme."""
    length = len(_parted(content)[0])
    changed = bytearray(content)
    for _ in range(source.choice([1, 4, 16])):
        extreme = source.choice(
            [b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\x80\x7f", b"\0\0\xc0\xff"]
        )
        at = 8 + length + 4 * source.randrange(max((len(content) - 8 - length) // 4, 1))
        changed[at : at + 4] = extreme
    return bytes(changed)


MEMBERS: Mapping[str, tuple[Change, ...]] = {
    "graph.txt": (*TEXT * 3, damaged),
    "params.safetensors": (arrays_retyped, arrays_revalued, damaged),
    "meta.json": (retold, retold, retold, damaged),
    "calibration.npy": (damaged, renumbered),
    "reference.onnx": (damaged,),
    "deployed.onnx": (damaged,),
    "data.pkl": (damaged, rewritten, spliced),
}
"""What is done to a member of an archive; of others, bytes are."""


def member_changed(
    source: random.Random, content: bytes, weights: Mapping[str, int] | None = None
) -> bytes:
    """An archive with one member damaged, its sums and lengths right again.

    Args:
        source: of randomness.
        content: of the archive.
        weights: how likely each member is to be the one, by the end of its name; 1 if not said.
    """
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(changed, "w") as new:
        names = old.namelist()
        ends = [name.rpartition("/")[2] for name in names]
        by_name = [(weights or {}).get(end, 1) for end in ends]
        chosen = source.choices(names, by_name)[0]
        for name, end in zip(names, ends, strict=True):
            member = old.read(name)
            if name == chosen:
                for _ in range(source.choice([1, 1, 2])):
                    change = source.choice(MEMBERS.get(end, BYTES))
                    try:
                        member = change(source, member)
                    except (ValueError, LookupError, TypeError):
                        # It was damaged before so that this change cannot read it.
                        member = damaged(source, member)
            new.writestr(zipfile.ZipInfo(name), member, old.getinfo(name).compress_type)
    return changed.getvalue()
