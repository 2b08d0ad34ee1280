"""Commands in a row: ``s2f export ckpt.pth | s2f simulate image.png | s2f verify | s2f energy``.

Every command prints a banner at once and its report when it is done, among it the lines
``artefact: <path>``, ``image: <path>`` and, for recordings of which a
moment was chosen, ``at: <time> us``. A command whose standard input is a pipe waits a moment
for such a banner; if one comes, it lets the reports before it pass through to its own output and
goes on with the artefact and the image that the last of them names.
"""

import os
import select
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from s2f_deploy.errors import S2FError

BANNER = "s2f "
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """What the commands before this one worked on."""

    artefact: Path
    image: Path | None
    at_us: int | None = None


def read_upstream(echo: Callable[[str], None]) -> Upstream | None:
    """What the command before this one hands on; None where there is none.

    Args:
        echo: called with every line of the reports before this one.

    Raises:
        S2FError: the command before this one ended without an artefact.
    """
    try:
        descriptor = sys.stdin.fileno()
    except (OSError, ValueError, AttributeError):
        return None
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return None
    # A pipe that nobody writes into must not stop us, so only a banner makes us wait.
    if _beginning(descriptor) != BANNER:
        return None
    echo(BANNER + sys.stdin.readline().rstrip("\n"))
    found: dict[str, str] = {}
    for line in sys.stdin:
        echo(line.rstrip("\n"))
        # A command that fails behind its banner must not pass on what those before it made.
        if line.startswith(BANNER):
            found.clear()
        key, separator, value = line.strip().partition(": ")
        if separator and key in ("artefact", "image", "at"):
            found[key] = value
    if "artefact" not in found:
        raise S2FError(
            "the command before this one gave no artefact",
            where="standard input",
            fix="mend its error above, or name a file with --model",
        )
    at = found.get("at", "").removesuffix(" us")
    return Upstream(
        Path(found["artefact"]),
        Path(found["image"]) if "image" in found else None,
        int(at) if at.isdecimal() else None,
    )


def _beginning(descriptor: int) -> str:
    """As many characters as a banner has; fewer where the pipe ends or stays silent."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    read = b""
    while len(read) < len(BANNER):
        left = max(deadline - time.monotonic(), 0.0)
        if not select.select([descriptor], [], [], left)[0]:
            break
        more = os.read(descriptor, len(BANNER) - len(read))
        if not more:
            break
        read += more
    return read.decode(errors="replace")
