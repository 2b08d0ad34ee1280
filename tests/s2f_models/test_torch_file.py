import argparse
import os
import pickle
import zipfile
from collections.abc import Callable
from copy import copy
from io import BytesIO
from pathlib import Path

import pytest
import torch
from checkpoint_files import read_tensors
from torch import Tensor, nn

from s2f_models import CheckpointError
from s2f_models.stand_in import StandIn
from s2f_models.stored_tensor import StoredTensor
from s2f_models.torch_file import read_torch_file

BASE = torch.arange(24.0).reshape(4, 6)
TENSORS = {
    "float32": BASE,
    "float64": BASE.double() / 3,
    "float16": BASE.half(),
    "bfloat16": BASE.bfloat16(),
    "int64": BASE.long() - 9,
    "int32": BASE.int(),
    "int16": BASE.short(),
    "int8": BASE.to(torch.int8),
    "uint8": BASE.byte(),
    "bool": BASE % 2 == 0,
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 3),
    "transposed": BASE.t(),
    "row of a shared storage": BASE[2, 1:5],
    "parameter": nn.Parameter(BASE[0].clone()),
}


def save(value: object, path: Path, *, legacy: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.fixture(params=[False, True], ids=["zip", "legacy"])
def legacy(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_every_tensor_is_read_back(legacy: bool, tmp_path: Path) -> None:
    root = read_torch_file(save(TENSORS, tmp_path / "t.pth", legacy=legacy)).root
    assert isinstance(root, dict)
    assert list(root) == list(TENSORS)
    for name, stored in root.items():
        assert isinstance(stored, StoredTensor)
        read = stored.read()
        assert read.dtype is TENSORS[name].dtype
        assert torch.equal(read, TENSORS[name])


def test_whole_module_becomes_stand_ins(legacy: bool, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    path = save({"ema": None, "model": model}, tmp_path / "m.pt", legacy=legacy)
    root = read_torch_file(path).root
    assert isinstance(root, dict)
    read = root["model"]
    assert isinstance(read, StandIn)
    assert str(read.named) == "torch.nn.modules.container.Sequential"

    def entries(module: object, prefix: str) -> dict[str, Tensor]:
        assert isinstance(module, StandIn)
        assert isinstance(module.state, dict)
        found = {
            prefix + name: tensor.read()
            for kind in ("_parameters", "_buffers")
            for name, tensor in module.state[kind].items()
        }
        for name, child in module.state["_modules"].items():
            found |= entries(child, f"{prefix}{name}.")
        return found

    found = entries(read, "")
    assert list(found) == list(model.state_dict())
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


def test_training_state_is_read(legacy: bool, tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(device=torch.device("cpu"), dtype=torch.float32),
        "rng": torch.get_rng_state(),
    }
    root = read_torch_file(save(state, tmp_path / "t.pth", legacy=legacy)).root
    assert isinstance(root, dict)
    step = root["optimizer"]["state"][0]["exp_avg"]
    assert torch.equal(step.read(), optimizer.state_dict()["state"][0]["exp_avg"])


class Attack:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("touch sentinel",)


def test_command_in_a_checkpoint_never_runs(
    legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save({"model": TENSORS, "args": Attack()}, tmp_path / "evil.pth", legacy=legacy)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with pytest.raises(CheckpointError, match=r"names posix\.system") as caught:
        read_torch_file(path)
    assert caught.value.where == str(path)
    assert "save model.state_dict() alone" in caught.value.fix
    assert not list(empty.iterdir())
    # The test is worth something: an ordinary reader does run it.
    with pytest.raises(AssertionError, match="ran"):
        run_attack(path, monkeypatch)


def run_attack(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ran(command: str) -> None:
        raise AssertionError(f"ran {command}")

    class Resolving(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> object:
            return (
                ran if (module, name) == ("posix", "system") else super().find_class(module, name)
            )

    monkeypatch.setattr(pickle, "Unpickler", Resolving)
    torch.load(path, weights_only=False, pickle_module=pickle)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(100), id="png"),
        pytest.param(b"learning_rate: 0.1\n", id="text"),
        pytest.param(bytes(4096), id="zeros"),
        pytest.param(b"\x08\0\0\0\0\0\0\0{}      ", id="safetensors"),
        pytest.param(pickle.dumps({"a": 1}, 2), id="pickle"),
        pytest.param(pickle.dumps(0x1950A86A20F9469CFC6C, 2), id="magic alone"),
        pytest.param(b"PK\x03\x04" + bytes(200), id="zip magic"),
    ],
)
def test_other_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_torch_file(path)


def test_plain_pickle_with_a_command_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(pickle.dumps(Attack()))
    with pytest.raises(CheckpointError, match=r"names posix\.system"):
        read_torch_file(path)


def test_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.pth", "no such file"),
        (tmp_path, "no regular file"),
        (Path(os.devnull), "no regular file"),
        (tmp_path / ("x" * 5000), "cannot be read"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_torch_file(path)


def repacked(
    content: bytes,
    change: Callable[[str, bytes], bytes | None],
    compression: int = zipfile.ZIP_STORED,
    extra: dict[str, bytes] | None = None,
) -> bytes:
    """The archive with each member replaced by what ``change`` gives, sums right."""
    result = BytesIO()
    with (
        zipfile.ZipFile(BytesIO(content)) as old,
        zipfile.ZipFile(result, "w", compression) as new,
    ):
        for name in old.namelist():
            changed = change(name, old.read(name))
            if changed is not None:
                new.writestr(name, changed)
        for name, added in (extra or {}).items():
            new.writestr(name, added)
    return result.getvalue()


def unchanged(_: str, content: bytes) -> bytes:
    return content


@pytest.fixture(scope="module")
def archive() -> bytes:
    buffer = BytesIO()
    torch.save(TENSORS, buffer)
    return buffer.getvalue()


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    return path


def test_repacked_archive_is_read(archive: bytes, tmp_path: Path) -> None:
    assert read_tensors(write(tmp_path, repacked(archive, unchanged))) == len(TENSORS)


def test_folder_of_the_archive_may_have_any_name(archive: bytes, tmp_path: Path) -> None:
    deeper = BytesIO()
    with zipfile.ZipFile(BytesIO(archive)) as old, zipfile.ZipFile(deeper, "w") as new:
        for name in old.namelist():
            new.writestr(f"a b/{name}", old.read(name))
    assert read_tensors(write(tmp_path, deeper.getvalue())) == len(TENSORS)


def test_compressed_archive_is_refused(archive: bytes, tmp_path: Path) -> None:
    """A small file could unpack to any size."""
    content = repacked(archive, unchanged, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="is compressed or encrypted"):
        read_tensors(write(tmp_path, content))


def test_other_byte_order_is_refused(archive: bytes, tmp_path: Path) -> None:
    content = repacked(archive, lambda n, c: b"big" if n.endswith("byteorder") else c)
    with pytest.raises(CheckpointError, match="little-endian"):
        read_tensors(write(tmp_path, content))


@pytest.mark.parametrize("replacement", [None, b"", b"\0" * 95, b"\0" * 97])
def test_storage_of_wrong_size_is_refused(
    replacement: bytes | None, archive: bytes, tmp_path: Path
) -> None:
    content = repacked(archive, lambda n, c: replacement if n.endswith("/data/0") else c)
    with pytest.raises(CheckpointError, match="storage 0 are missing or cut off"):
        read_tensors(write(tmp_path, content))


@pytest.mark.parametrize("extra", ["data.pkl", "other/data.pkl"])
def test_two_pickles_are_refused(extra: str, archive: bytes, tmp_path: Path) -> None:
    content = repacked(archive, unchanged, extra={extra: b"\x80\x02N."})
    with pytest.raises(CheckpointError, match=r"2 members called data\.pkl"):
        read_tensors(write(tmp_path, content))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(archive: bytes, tmp_path: Path) -> None:
    content = repacked(archive, unchanged, extra={"archive/data.pkl": b"\x80\x02N."})
    with pytest.raises(CheckpointError, match="two members of one name"):
        read_tensors(write(tmp_path, content))


def test_archive_without_a_pickle_is_refused(archive: bytes, tmp_path: Path) -> None:
    content = repacked(archive, lambda n, c: None if n.endswith(".pkl") else c)
    with pytest.raises(CheckpointError, match=r"0 members called data\.pkl"):
        read_tensors(write(tmp_path, content))


def test_overlapping_members_cannot_multiply(archive: bytes, tmp_path: Path) -> None:
    """The directory lists the same bytes again and again under other names."""
    buffer = BytesIO(archive)
    with zipfile.ZipFile(buffer, "a") as members:
        largest = max(members.filelist, key=lambda member: member.file_size)
        for number in range(10):
            again = copy(largest)
            again.filename = f"archive/copy{number}"
            members.filelist.append(again)
        members.writestr("archive/last", b"")
    with pytest.raises(CheckpointError, match="members are larger than the archive"):
        read_tensors(write(tmp_path, buffer.getvalue()))
