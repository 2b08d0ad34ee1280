"""The containers of ``torch.save``: a zip archive since torch 1.6, a run of pickles before."""

import hashlib
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

from s2f_models.errors import CheckpointError, ModelError, shown
from s2f_models.stand_in import RefusedError, StandIn
from s2f_models.stored_tensor import Storage, storage_from_id
from s2f_models.unpickle import read_pickle

_ZIP_MAGIC = b"PK\x03\x04"
# The first pickle of the older container, and the only version it ever had.
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
_SAVE_AGAIN = "save it again with torch.save(model.state_dict(), path)"


@dataclass(frozen=True, slots=True)
class TorchFile:
    """A file as ``torch.save`` wrote it, nothing in it executed.

    Attributes:
        root: the saved object, as ``read_pickle`` gives it. Tensors read their values from
            memory on demand, so the file may be gone.
        sha256: of the whole file, in hexadecimal.
    """

    root: object
    sha256: str


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn whatever a damaged or hostile file causes inside into one CheckpointError."""
    try:
        yield
    except ModelError:
        raise
    except RefusedError as refusal:
        raise CheckpointError(refusal.what, where=str(path), fix=refusal.fix) from None
    except OSError as error:
        raise CheckpointError(
            f"the file cannot be read: {error.strerror}",
            where=str(path),
            fix="check the path and who may read it",
        ) from error
    # A file made to be hostile picks the exception, so there is no list of them to catch.
    except Exception as error:
        detail = shown(f"{type(error).__name__}: {error}")
        raise CheckpointError(
            f"the file is damaged or no checkpoint ({detail})",
            where=str(path),
            fix="copy or download it again; torch.save writes files this reader takes",
        ) from error


def read_torch_file(path: Path) -> TorchFile:
    """Read a ``.pth`` or ``.pt`` file without running anything in it.

    Raises:
        CheckpointError: no such file, or nothing that ``torch.save`` wrote, or damaged, or it
            names code that no checkpoint has any business naming.
    """
    with refusing(path):
        if not path.exists():
            raise RefusedError("there is no such file", "give the path of a .pth or .pt file")
        # Devices and pipes have no end.
        if not path.is_file():
            raise RefusedError("this is no regular file", "give the path of a .pth or .pt file")
        content = path.read_bytes()
        is_zip = content.startswith(_ZIP_MAGIC)
        root = (_ZipReader if is_zip else _LegacyReader)(content).read()
        return TorchFile(root, hashlib.sha256(content).hexdigest())


class _ZipReader:
    """An archive of ``<folder>/data.pkl`` and one ``<folder>/data/<key>`` for each storage."""

    def __init__(self, content: bytes) -> None:
        self.archive = zipfile.ZipFile(BytesIO(content))
        self.members = {member.filename: member for member in self.archive.infolist()}
        self.values: dict[str, bytes] = {}
        self.check_members(len(content))
        roots = [name for name in self.members if f"/{name}".endswith("/data.pkl")]
        if len(roots) != 1:
            raise RefusedError(
                f"the archive has {len(roots)} members called data.pkl, a checkpoint has one",
                "give a file that torch.save wrote",
            )
        self.folder = roots[0].removesuffix("data.pkl")

    def check_members(self, size_bytes: int) -> None:
        """Refuse members that could unpack to more than the file has bytes."""
        if len(self.members) != len(self.archive.infolist()):
            raise RefusedError("the archive has two members of one name", _SAVE_AGAIN)
        for member in self.members.values():
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise RefusedError(
                    f"the archive member {shown(member.filename)} is compressed or encrypted, "
                    "which torch.save never does",
                    _SAVE_AGAIN,
                )
        if sum(member.file_size for member in self.members.values()) > size_bytes:
            raise RefusedError("the archive's members are larger than the archive")

    def read(self) -> object:
        """The saved object."""
        order = f"{self.folder}byteorder"
        if order in self.members and self.archive.read(order) != b"little":
            raise RefusedError("the file was not saved on a little-endian machine", _SAVE_AGAIN)
        return read_pickle(BytesIO(self.archive.read(f"{self.folder}data.pkl")), self.persistent)

    def persistent(self, persistent_id: object) -> object:
        """A storage whose member has the size the pickle says."""
        storage = storage_from_id(persistent_id, lambda key: partial(self.content, key))
        if isinstance(storage, Storage):
            member = self.members.get(f"{self.folder}data/{storage.key}")
            if member is None or member.file_size != storage.size_bytes:
                raise RefusedError(
                    f"the values of storage {shown(storage.key)} are missing or cut off"
                )
        return storage

    def content(self, key: str) -> bytes:
        """The bytes of one storage; the archive checks their sum."""
        if key not in self.values:
            self.values[key] = self.archive.read(f"{self.folder}data/{key}")
        return self.values[key]


def _no_object(_: object) -> object:
    """What the pickles before and after the saved object may refer to."""
    raise RefusedError("the header of the file refers to outside objects")


class _LegacyReader:
    """Magic number, version, machine, the object, storage keys, then the storages."""

    def __init__(self, content: bytes) -> None:
        self.content = memoryview(content)
        self.stream = BytesIO(content)
        self.storages: dict[str, Storage] = {}
        self.values: dict[str, memoryview] = {}

    def read(self) -> object:
        """The saved object, with all storages found."""
        self.check_header()
        root = read_pickle(self.stream, self.persistent)
        self.locate_storages()
        return root

    def check_header(self) -> None:
        """Refuse anything but a file of the older container."""
        foreign = RefusedError(
            "this is no file that torch.save wrote", "give a .pth or .pt file saved by PyTorch"
        )
        try:
            magic = read_pickle(self.stream, _no_object)
        except RefusedError:
            raise
        # Not even a pickle: an image, a text, an empty file.
        except Exception:
            raise foreign from None
        if magic != _LEGACY_MAGIC:
            raise foreign
        version = read_pickle(self.stream, _no_object)
        machine = read_pickle(self.stream, _no_object)
        little = isinstance(machine, dict) and machine.get("little_endian") is True
        if version != _LEGACY_VERSION or not little:
            raise RefusedError(
                "the file has another version of the old container, or is not little-endian",
                _SAVE_AGAIN,
            )

    def persistent(self, persistent_id: object) -> object:
        """A storage whose values come later; a class comes with its source, which is left."""
        match persistent_id:
            case ("module", kind, *_):
                return kind
        storage = storage_from_id(persistent_id, lambda key: partial(self.values.__getitem__, key))
        if isinstance(storage, StandIn):
            # Without its element size the storages behind it cannot be found.
            raise RefusedError(f"the file stores values as {storage.named}", _SAVE_AGAIN)
        first = self.storages.setdefault(storage.key, storage)
        if (first.dtype, first.numel) != (storage.dtype, storage.numel):
            raise RefusedError(f"storage {shown(storage.key)} has two sizes")
        return first

    def locate_storages(self) -> None:
        """Find the values of every storage; they follow the last pickle back to back."""
        keys = read_pickle(self.stream, _no_object)
        position = self.stream.tell()
        for key in keys if isinstance(keys, list) else ():
            storage = self.storages.get(key) if isinstance(key, str) else None
            if storage is None:
                break
            (numel,) = struct.unpack_from("<q", self.content, position)
            end = position + 8 + storage.size_bytes
            if numel != storage.numel or end > len(self.content):
                raise RefusedError(
                    f"the values of storage {shown(storage.key)} are missing or cut off"
                )
            self.values[storage.key] = self.content[position + 8 : end]
            position = end
        if self.values.keys() != self.storages.keys():
            raise RefusedError("the file lists other storages than it uses")
