"""The artefact ``model.s2f``: graph, arrays, float reference and metadata in one zip file.

Nothing in it is ever executed. ``graph.txt`` is the printed graph, ``params.safetensors`` its
arrays, ``reference.onnx`` the float network, ``deployed.onnx`` the same with its weights on integer
grids (empty where they stay as trained), ``calibration.npy`` pictures by which integer weights are
chosen (may be empty), ``meta.json`` everything else.
"""

import io
import json
import math
import os
import re
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from s2f_deploy.errors import ArtefactError, S2FError
from s2f_deploy.ir.graph import Graph, frozen_array
from s2f_deploy.ir.text import parse_graph, print_graph

SCHEMA = 2
EPOCH = (1980, 1, 1, 0, 0, 0)
LARGEST_TEXT_BYTES = 1 << 26
# Weights that are whole numbers pack threefold; a network of constants, however small, packs more.
_LARGEST_PACKED, _ANYHOW_BYTES = 32, 1 << 24
# Of packing: minutes for what is large, where a tenth less would gain little.
_THOROUGH, _QUICK, _LARGE_BYTES = 6, 1, 1 << 26
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..{'descr': '\|u1', 'fortran_order': False, "
    rb"'shape': \((\d{1,9}), (\d{1,9}), (\d{1,9}), 3\), } *\n",
    re.DOTALL,
)


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write the artefact; whatever was there is replaced in one step, or not at all.

    Equal graphs give equal bytes.

    Raises:
        ArtefactError: the file cannot be written.
    """
    target = Path(path)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    meta = {"schema": SCHEMA, "metadata": dict(graph.metadata)}
    # safetensors wants owned, writable memory in C order.
    arrays = {name: np.array(a, order="C") for name, a in sorted(graph.params.items())}
    try:
        with partial.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as members:
                _write(members, "graph.txt", print_graph(graph).encode())
                _write(members, "params.safetensors", save_arrays(arrays))
                # Only verification reads the reference: smaller counts for more than faster.
                _write(members, "reference.onnx", graph.reference, packed=True)
                _write(members, "deployed.onnx", graph.deployed, packed=True)
                _write(members, "calibration.npy", _npy(graph), packed=True)
                _write(members, "meta.json", json.dumps(meta, indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise ArtefactError(
            f"cannot write the artefact: {error.strerror}",
            where=os.fspath(path),
            fix="choose a directory that exists and may be written",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Graph:
    """Read an artefact and check it.

    Raises:
        ArtefactError: the file is missing, foreign or damaged.
        IllegalGraphError: its graph breaks the rules of its level.
    """
    from s2f_deploy.ir.verify import verify  # noqa: PLC0415 (ops import the IR)

    try:
        with zipfile.ZipFile(path) as members:
            content = {name: _read(members, name) for name in _MEMBERS}
        meta = json.loads(content["meta.json"])
        arrays = load_arrays(content["params.safetensors"])
        graph = parse_graph(content["graph.txt"].decode())
        pictures = _pictures(content["calibration.npy"])
        metadata = _checked(meta)
    except OSError as error:
        raise _damaged(path, error.strerror or "cannot be read") from error
    except S2FError:
        raise
    # A file made to be hostile picks the exception, so there is no list of them to catch.
    except Exception as error:
        raise _damaged(path, str(error)) from error
    params = {name: frozen_array(array) for name, array in arrays.items()}
    loaded = replace(
        graph,
        params=params,
        reference=content["reference.onnx"],
        deployed=content["deployed.onnx"],
        calibration=pictures,
        metadata=metadata,
    )
    try:
        verify(loaded)
    except S2FError:
        raise
    except Exception as error:
        raise _damaged(path, f"a node is malformed: {error!r}") from error
    return loaded


_MEMBERS = (
    "graph.txt",
    "params.safetensors",
    "reference.onnx",
    "deployed.onnx",
    "calibration.npy",
    "meta.json",
)


def _npy(graph: Graph) -> bytes:
    if graph.calibration is None:
        return b""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(graph.calibration), allow_pickle=False)
    return file.getvalue()


def _pictures(content: bytes) -> NDArray[np.uint8] | None:
    if not content:
        return None
    # The only header that is written: NumPy's own reader makes room for whatever one says.
    header = _NPY_HEADER.match(content)
    sides = (*map(int, header.groups()), 3) if header else ()
    values = content[header.end() :] if header else b""
    if not values or len(values) != math.prod(sides):
        raise ValueError("calibration.npy holds no pictures")
    return np.frombuffer(values, np.uint8).reshape(sides)


def _write(members: zipfile.ZipFile, name: str, content: bytes, packed: bool = False) -> None:
    level = _THOROUGH if len(content) < _LARGE_BYTES else _QUICK
    packed = packed and not _is_bomb(content, level)
    how = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    members.writestr(zipfile.ZipInfo(name, EPOCH), content, how, level)


def _is_bomb(content: bytes, level: int) -> bool:
    """Whether packing makes it look like one: a network of almost nothing but zeros."""
    if len(content) <= _ANYHOW_BYTES:
        return False
    packer = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)  # as ``zipfile`` does
    return len(content) > _largest(len(packer.compress(content)) + len(packer.flush()))


def _largest(packed_bytes: int) -> int:
    return _LARGEST_PACKED * packed_bytes + _ANYHOW_BYTES


def _read(members: zipfile.ZipFile, name: str) -> bytes:
    info = members.getinfo(name)
    packed = _largest(info.compress_size)
    most = min(LARGEST_TEXT_BYTES, packed) if name.endswith((".txt", ".json")) else packed
    # More is a bomb, or a lie about the size.
    if info.file_size > most:
        raise ValueError(f"{name} claims {info.file_size:,} bytes")
    return members.read(info)


def _checked(meta: Any) -> dict[str, Any]:
    match meta:
        case {"schema": int(schema), "metadata": dict(metadata)} if schema == SCHEMA:
            return {str(key): value for key, value in metadata.items()}
    raise ValueError(f"meta.json is not of schema {SCHEMA}")


def _damaged(path: str | os.PathLike[str], why: str) -> ArtefactError:
    return ArtefactError(
        f"this is no artefact of this version, or a damaged one: {why}",
        where=os.fspath(path),
        fix="write it again with s2f export",
    )
