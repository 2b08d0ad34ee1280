"""A long evaluation that survives being stopped: one finished picture per line of a file."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from s2f_deploy.errors import ArtefactError

if sys.platform != "win32":
    import fcntl

_KIND, _VERSION = "s2f evaluation log", 1


class ProgressLog:
    """Results by key, each on disk before ``add`` returns.

    The first line binds the file to what is evaluated; each other line is one result. A line that
    was being written when the power went is dropped when the file is opened again.

    Attributes:
        results: everything finished, in the order it was finished.
    """

    def __init__(self, path: str | os.PathLike[str], binding: Mapping[str, Any]) -> None:
        """Open a log, or start one.

        Args:
            path: the file, made where there is none.
            binding: JSON values that name the evaluation: digest of the model, dataset, options.

        Raises:
            ArtefactError: the file is another evaluation's log, no log, damaged in its middle,
                or another process is writing it.
            OSError: the file cannot be written.
        """
        self.path = Path(path)
        self.results: dict[str, Any] = {}
        header = {"log": _KIND, "version": _VERSION, "binding": dict(binding)}
        self._file = io.FileIO(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        try:
            self._lock()
            self._resume(_line(header))
        except BaseException:
            self._file.close()
            raise

    def add(self, key: str, result: Any) -> None:
        """Append the result of ``key``, a JSON value, and wait until it is on disk.

        Raises:
            ArtefactError: ``key`` is finished already.
        """
        if key in self.results:
            raise self._damaged(f"{key!r} is finished already")
        line = _line({"key": key, "result": result})
        # What a later reader of the file would see, such as lists for tuples.
        self.results[key] = json.loads(line)["result"]
        self._write(line)

    def run(self, keys: Iterable[str], evaluate: Callable[[str], Any]) -> dict[str, Any]:
        """Evaluate what is not finished yet; the results of ``keys`` in their order."""
        wanted = list(keys)
        for key in wanted:
            if key not in self.results:
                self.add(key, evaluate(key))
        return {key: self.results[key] for key in wanted}

    def close(self) -> None:
        """Let another process have the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lock(self) -> None:
        # Windows has no advisory locks.
        if sys.platform != "win32":
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ArtefactError(
                    "another process is writing this log",
                    where=str(self.path),
                    fix="wait for it, or give another file",
                ) from error

    def _resume(self, header: bytes) -> None:
        content = self._file.readall()
        whole = content[: content.rfind(b"\n") + 1]
        if not whole and header.startswith(content):
            self._restart(header)
            return
        first, *lines = whole.split(b"\n")[:-1] or [b""]
        self._check_header(first, header)
        for number, line in enumerate(lines, start=2):
            key, result = self._entry(line, number)
            self.results[key] = result
        self._file.truncate(len(whole))
        self._file.seek(len(whole))

    def _restart(self, header: bytes) -> None:
        self._file.truncate(0)
        self._file.seek(0)
        self._write(header)

    def _write(self, line: bytes) -> None:
        left = memoryview(line)
        while left:
            left = left[self._file.write(left) :]
        os.fsync(self._file.fileno())

    def _check_header(self, first: bytes, expected: bytes) -> None:
        ours, wanted = _parsed(first), json.loads(expected)
        if not isinstance(ours, dict) or ours.get("log") != _KIND:
            raise self._damaged("this is no log of an evaluation")
        if ours.get("version") != _VERSION:
            raise self._damaged(f"the log is of version {ours.get('version')!r}, not {_VERSION}")
        if ours != wanted:
            raise self._damaged(
                f"the log is that of another evaluation: {_difference(ours, wanted)}"
            )

    def _entry(self, line: bytes, number: int) -> tuple[str, Any]:
        entry = _parsed(line)
        if not isinstance(entry, dict) or set(entry) != {"key", "result"}:
            raise self._damaged(f"line {number} is damaged")
        if not isinstance(entry["key"], str) or entry["key"] in self.results:
            raise self._damaged(f"line {number} repeats a key, or has none")
        return entry["key"], entry["result"]

    def _damaged(self, what: str) -> ArtefactError:
        return ArtefactError(
            what, where=str(self.path), fix="give another file for the log, or delete this one"
        )


def _line(entry: Mapping[str, Any]) -> bytes:
    # Floats are written so that they read back as the same bits; NaN would be no JSON.
    return json.dumps(entry, sort_keys=True, allow_nan=False).encode() + b"\n"


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _difference(ours: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    before, now = ours.get("binding"), wanted["binding"]
    if not isinstance(before, dict):
        return "it says nothing about it"
    names = sorted(n for n in before.keys() | now.keys() if before.get(n) != now.get(n))
    return ", ".join(f"{n} was {before.get(n)!r}, is {now.get(n)!r}" for n in names)
