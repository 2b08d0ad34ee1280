"""Writing a file so that nobody ever sees half of it."""

import os
from pathlib import Path


def replace_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content`` beside ``path``, then rename it into place.

    Raises:
        OSError: the folder cannot be written; an older file is then left as it was.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
