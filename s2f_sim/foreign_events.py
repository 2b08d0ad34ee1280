"""Formats that the library faery reads, in a process of its own.

The library is compiled: a damaged file can end the process that reads it, which must not be ours.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from s2f_deploy.errors import InputError
from s2f_sim import faery_process
from s2f_sim.camera_events import Events

_LONGEST_S, _BYTES_PER_S = 60, 1 << 20


def decode_foreign(path: Path, kind: str, sensor: tuple[int, int] | None, where: str) -> Events:
    """The events of a file of faery's type ``kind``; ``sensor`` where the file says nothing.

    Raises:
        InputError: faery is not installed, or refuses the file, or does not survive it.
    """
    width, height = sensor or (0, 0)
    # -P: the modules beside the child's file must not hide those of the standard library.
    command = [sys.executable, "-P", faery_process.__file__, str(path), kind, f"{width}x{height}"]
    patience_s = _LONGEST_S + path.stat().st_size / _BYTES_PER_S
    try:
        child = subprocess.run(
            command,
            capture_output=True,
            timeout=patience_s,
            check=False,
            # A damaged file is no reason to look up where in the library it was noticed.
            env=os.environ | {"RUST_BACKTRACE": "0"},
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(f"reading it takes more than {patience_s:.0f} s", where) from error
    if child.returncode == faery_process.MISSING:
        raise InputError(
            f"{path.suffix} files need the library faery, which is not installed",
            where=where,
            fix="pip install 's2f[events]'",
        )
    if child.returncode:
        raise _refused(_reason(child.returncode, child.stderr), where)
    stream = io.BytesIO(child.stdout)
    size, events = (np.load(stream, allow_pickle=False) for _ in range(2))
    if len(events) and int(events["t"].max()) > np.iinfo(np.int64).max:
        raise _refused("it holds a time beyond 63 bits", where)
    return Events.checked(
        events["t"],
        events["x"],
        events["y"],
        events["p"],
        sensor=(int(size[0]), int(size[1])),
        where=where,
    )


def _refused(what: str, where: str) -> InputError:
    return InputError(
        f"the events cannot be read: {what}", where=where, fix="copy or download the file again"
    )


def _reason(status: int, said: bytes) -> str:
    """What faery said in its last line, unless it ended without a word of its own."""
    if status != faery_process.REFUSED:
        return "the file is damaged"
    text = said.decode(errors="replace").strip().splitlines() or ["the file is damaged"]
    return "".join(c if c.isprintable() else "?" for c in text[-1])
