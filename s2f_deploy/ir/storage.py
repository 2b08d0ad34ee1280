"""The artefact ``model.s2f``: graph, arrays, float reference and metadata in one zip file.

Nothing in it is ever executed. ``graph.txt`` is the printed graph, ``params.safetensors`` its
arrays, ``reference.onnx`` the float network, ``deployed.onnx`` the same with its weights on integer
grids (empty where they stay as trained), ``calibration.npy`` pictures by which integer weights are
chosen (may be empty), ``meta.json`` everything else.
"""

import io
import json
import os
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from s2f_deploy.errors import ArtefactError, S2FError
from s2f_deploy.ir.graph import Graph, frozen_array
from s2f_deploy.ir.text import parse_graph, print_graph

SCHEMA = 2
EPOCH = (1980, 1, 1, 0, 0, 0)
LARGEST_TEXT_BYTES = 1 << 26


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
                _write(members, "reference.onnx", graph.reference, zipfile.ZIP_DEFLATED)
                _write(members, "deployed.onnx", graph.deployed, zipfile.ZIP_DEFLATED)
                _write(members, "calibration.npy", _npy(graph), zipfile.ZIP_DEFLATED)
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
    except (
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        ValueError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        SafetensorError,
    ) as error:
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
    except (KeyError, ValueError, IndexError, TypeError) as error:
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
    np.save(file, graph.calibration, allow_pickle=False)
    return file.getvalue()


def _pictures(content: bytes) -> NDArray[np.uint8] | None:
    if not content:
        return None
    pictures = np.load(io.BytesIO(content), allow_pickle=False)
    match pictures:
        case np.ndarray(dtype=np.uint8, shape=(_, _, _, 3)) if pictures.size:
            return pictures
    raise ValueError("calibration.npy holds no pictures")


def _write(
    members: zipfile.ZipFile, name: str, content: bytes, how: int = zipfile.ZIP_STORED
) -> None:
    members.writestr(zipfile.ZipInfo(name, EPOCH), content, how)


def _read(members: zipfile.ZipFile, name: str) -> bytes:
    info = members.getinfo(name)
    # Deflate packs a thousandfold at most; more is a bomb, or a lie about the size.
    if info.file_size > 1100 * max(info.compress_size, 1):
        raise ValueError(f"{name} claims {info.file_size} bytes")
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
