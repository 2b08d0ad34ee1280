"""Child process that lets faery read one file; ``foreign_events`` starts it.

Writes two arrays in NumPy's own format to standard output: width and height, then the events. It
imports nothing of this package, so that it starts in the time faery takes to load.
"""

import importlib
import sys

import numpy as np

REFUSED, MISSING = 3, 4


def main(path: str, kind: str, size: str) -> int:
    """Read ``path`` of faery's type ``kind``; ``size`` is used where the file does not say."""
    try:
        faery = importlib.import_module("faery")
    except ImportError:
        return MISSING
    width, height = (int(side) for side in size.split("x"))
    try:
        stream = faery.events_stream_from_file(
            path, dimensions_fallback=(width, height), file_type=kind
        )
        packets = list(stream)
    # What its Rust code panics with is no Exception.
    except BaseException as error:
        sys.stderr.write(f"\n{str(error).partition(chr(10))[0]}\n")
        return REFUSED
    events = np.concatenate([np.empty(0, faery.EVENTS_DTYPE), *packets])
    # The title that faery gives its last field cannot be stored.
    plain = [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")]
    stored = np.empty(len(events), plain)
    for field, _ in plain:
        stored[field] = events[field]
    np.save(sys.stdout.buffer, np.array(stream.dimensions()))
    np.save(sys.stdout.buffer, stored)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
