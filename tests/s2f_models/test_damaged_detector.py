"""Damage at random to a whole pickled detector: one kind of error or a network, nothing else."""

import pickletools
import random
import struct
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest
import torch
from spike_yolo_golden import official_checkpoint, write_official_checkpoint
from torch import nn

from s2f_models import CheckpointError, load_checkpoint
from s2f_models.pickled_module import attributes
from s2f_models.stand_in import Named, StandIn
from s2f_models.state_dict import find_state_dict
from s2f_models.torch_file import read_torch_file, refusing
from s2f_models.ultralytics_file import describe
from s2f_models.unpickle import read_pickle

Members = dict[str, bytes]

STORAGE = Named("torch", "HalfStorage")


def members_of(content: bytes) -> Members:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


OFFICIAL = members_of(official_checkpoint())


def written(path: Path, members: Members, **changes: bytes | None) -> Path:
    """The checkpoint with other members."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            changed = changes.get(name, content)
            if changed is not None:
                archive.writestr(f"best/{name}", changed)
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Members:
    """A detector of four layers, pickled by torch as the official trainer does.

    Its table is that of the whole network: all of what is said about it is there, in 5 kB.
    """

    def pickled(module: str, name: str) -> type[nn.Module]:
        made = type(name, (nn.Module,), {"__module__": module})
        parts = module.split(".")
        for i in range(1, len(parts) + 1):
            inner = ".".join(parts[:i])
            if inner not in sys.modules:
                monkeypatch.setitem(sys.modules, inner, ModuleType(inner))
        setattr(sys.modules[module], name, made)
        return made

    blocks = "ultralytics.nn.modules.yolo_spikformer"
    neuron = pickled(blocks, "mem_update")()
    neuron.qtrick = pickled(blocks, "MultiSpike4")()
    model = pickled("ultralytics.nn.tasks", "DetectionModel")()
    norm = nn.BatchNorm2d(2, 1e-3)
    model.model = nn.Sequential(nn.Conv2d(1, 2, 1), norm, neuron, nn.Upsample(scale_factor=2))
    official = read_pickle(BytesIO(OFFICIAL["data.pkl"]), lambda _: StandIn(STORAGE, ()))
    assert isinstance(official, dict)
    said = attributes(official["model"])
    model.__dict__.update(yaml=said["yaml"], names=said["names"])
    buffer = BytesIO()
    torch.save({"model": model.half(), "ema": None, "train_args": {"imgsz": 64}}, buffer)
    return members_of(buffer.getvalue())


def refused(path: Path) -> bool:
    """Whether what the file says is refused; any other exception escapes."""
    try:
        file = read_torch_file(path)
        with refusing(path):
            weights = find_state_dict(file.root)
            if weights.module is None:
                return True
            describe(weights.module, file.root)
            for tensor in weights.tensors.values():
                tensor.read()
    except CheckpointError:
        return True
    return False


def test_untouched_file_is_read(small: Members, tmp_path: Path) -> None:
    assert not refused(written(tmp_path / "x.pt", small))
    assert not refused(written(tmp_path / "x.pt", OFFICIAL))


def test_flipped_bits_never_escape(small: Members, tmp_path: Path) -> None:
    source, path, count = random.Random(5), tmp_path / "x.pt", 0
    for _ in range(200):
        damaged = bytearray(small["data.pkl"])
        for _ in range(source.choice([1, 1, 2, 8])):
            damaged[source.randrange(len(damaged))] ^= 1 << source.randrange(8)
        count += refused(written(path, small, **{"data.pkl": bytes(damaged)}))
    assert 0 < count < 200


def test_moved_and_cut_parts_never_escape(small: Members, tmp_path: Path) -> None:
    source, path, count = random.Random(6), tmp_path / "x.pt", 0
    pickled = small["data.pkl"]
    for _ in range(200):
        a, b, c = sorted(source.randrange(len(pickled)) for _ in range(3))
        changed = source.choice(
            [
                pickled[:a] + pickled[b:],
                pickled[:a] + pickled[b:c] + pickled[a:b] + pickled[c:],
                pickled[:b] + pickled[a:],
                pickled[:a],
            ]
        )
        count += refused(written(path, small, **{"data.pkl": changed}))
    assert count > 150


def test_changed_numbers_never_escape(small: Members, tmp_path: Path) -> None:
    """Every opcode stays, but counts, sizes, strides and offsets become others."""
    source, path, count = random.Random(7), tmp_path / "x.pt", 0
    pickled = small["data.pkl"]
    widths = {"BININT1": "<B", "BININT2": "<H", "BININT": "<i"}
    numbers = [
        (place + 1, widths[opcode.name])
        for opcode, _, place in pickletools.genops(pickled)
        if opcode.name in widths and place is not None
    ]
    for _ in range(200):
        damaged = bytearray(pickled)
        for place, form in source.sample(numbers, 3):
            most = 2 ** (8 * struct.calcsize(form) - 1) - 1
            struct.pack_into(form, damaged, place, source.choice([0, 1, most]))
        count += refused(written(path, small, **{"data.pkl": bytes(damaged)}))
    assert 0 < count < 200


@pytest.mark.parametrize("keep", [0, 1, 100, 10_000, 1_000_000, -1, -30])
def test_cut_file_is_one_error(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(official_checkpoint()[:keep])
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"byteorder": b"big"}, "little-endian"),
        ({"data/0": b"\0" * 100}, "missing or cut off"),
        ({"data/0": None}, "missing or cut off"),
        ({"data/0": b"\xff" * 2352}, "not finite"),
        ({"data.pkl": None}, "0 members called data.pkl"),
        ({"data.pkl": b""}, "damaged or no checkpoint"),
        ({"data.pkl": b"\x80\x02."}, "takes more from the stack"),
        ({"data.pkl": b"\x80\x02cposix\nsystem\nX\x02\0\0\0ls\x85R."}, r"posix\.system"),
        ({"data.pkl": b"\x80\x02c__builtin__\neval\nX\x01\0\0\0" + b"1\x85R."}, r"builtins\.eval"),
        ({"data.pkl": b"\x80\x02cultralytics.nn.tasks\nattempt_load.os\n."}, "never runs"),
        ({"data.pkl": b"\x80\x02}."}, "no state dict in here"),
    ],
)
def test_hostile_archive_is_one_error(
    changes: dict[str, bytes | None], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(written(tmp_path / "x.pt", OFFICIAL, **changes))


def test_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("best/data.pkl", b"\0" * 50_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(CheckpointError, match="is compressed or encrypted"):
        load_checkpoint(path)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_official_checkpoint(tmp_path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("best/data/0", b"\0" * 2352)
    with pytest.raises(CheckpointError, match="two members of one name"):
        load_checkpoint(path)


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_official_checkpoint(tmp_path)
    monkeypatch.chdir(tmp_path)
    load_checkpoint(path)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
