"""Damage at random: a CheckpointError or a value comes out, never another exception."""

import random
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import torch
from checkpoint_files import read_tensors
from torch import nn

from s2f_models import CheckpointError

BASE = torch.arange(24.0).reshape(4, 6)
SAVED = {
    "float32": BASE,
    "float16": BASE.half(),
    "bool": BASE % 2 == 0,
    "transposed": BASE.t(),
    "row": BASE[2, 1:5],
    "parameter": nn.Parameter(BASE[0].clone()),
    "module": nn.BatchNorm1d(2),
    "set": {1, 2},
}
OPCODES = b"(0]})NK\x01\x02aest\x85\x86\x87u\x8f\x90\x91q\x00h\x00Rb\x81Q\x93\x94X\x88\x8a"


def saved(*, legacy: bool) -> bytes:
    buffer = BytesIO()
    torch.save(SAVED, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


@pytest.fixture(scope="module", params=[False, True], ids=["zip", "legacy"])
def content(request: pytest.FixtureRequest) -> bytes:
    return saved(legacy=request.param)


def refused(path: Path, content: bytes) -> bool:
    """Whether the file is refused; any other exception escapes."""
    path.write_bytes(content)
    try:
        read_tensors(path)
    except CheckpointError:
        return True
    return False


def flipped(content: bytes, source: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(source.choice([1, 1, 1, 2, 8])):
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    return bytes(changed)


def with_pickle_flipped(content: bytes, source: random.Random) -> bytes:
    """The archive with a damaged pickle whose check sum is right again."""
    result = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as old, zipfile.ZipFile(result, "w") as new:
        for name in old.namelist():
            member = old.read(name)
            new.writestr(name, flipped(member, source) if name.endswith(".pkl") else member)
    return result.getvalue()


def test_truncated_file_is_refused(content: bytes, tmp_path: Path) -> None:
    for length in range(0, len(content) - 1, 37):
        assert refused(tmp_path / "x.pth", content[:length])


def test_flipped_bits_never_escape(content: bytes, tmp_path: Path) -> None:
    source = random.Random(1)
    path = tmp_path / "x.pth"
    assert sum(refused(path, flipped(content, source)) for _ in range(250))


def test_flipped_bits_behind_right_sums_never_escape(tmp_path: Path) -> None:
    content, source = saved(legacy=False), random.Random(2)
    path = tmp_path / "x.pth"
    assert sum(refused(path, with_pickle_flipped(content, source)) for _ in range(250))


def test_random_opcodes_never_escape(tmp_path: Path) -> None:
    content, source = saved(legacy=True), random.Random(3)
    # Magic number, version and machine; the saved dictionary begins behind them.
    header = content[: content.index(b"float32") - len(b"\x80\x02}q\x00(X\x07\x00\x00\x00")]
    programs = [bytes(source.choices(OPCODES, k=source.randrange(1, 60))) for _ in range(250)]
    path = tmp_path / "x.pth"
    assert sum(refused(path, header + b"\x80\x02" + p + b".") for p in programs)
