"""Made-up archives of recordings in the format of N-MNIST, and digits in that of MNIST."""

import zipfile
from pathlib import Path

import numpy as np

Event = tuple[int, int, int, int]


def encode(events: list[Event]) -> bytes:
    """Of t, x, y and p, 23 bits of microseconds at most."""
    packed = (x << 32 | y << 24 | p << 23 | t for t, x, y, p in events)
    return b"".join(word.to_bytes(5, "big") for word in packed)


def write_archive(path: Path, count: int = 6) -> Path:
    """Bars that stand at a column by their class, and are brighter behind the middle."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as members:
        for first, name in ((1, "train1K"), (60_001, "test100")):
            lines = ["#sample #class"]
            for number in range(first, first + count):
                label = number % 10
                times = np.sort(rng.integers(0, 300_000, 200))
                events = [
                    (int(t), 3 * label + int(rng.integers(2)), int(rng.integers(34)), int(t > 1e5))
                    for t in times
                ]
                members.writestr(f"{number}.bs2", encode(events))
                lines.append(f"{number}\t{label}")
            members.writestr(f"{name}.txt", "\r\n".join(lines) + "\r\n")
    return path


def write_digits(folder: Path, count: int = 9, split: str = "train") -> Path:
    """The digits of which ``write_archive`` has recordings, and some more: a bar by their class."""
    folder.mkdir(exist_ok=True)
    labels = np.arange(1, count + 1, dtype=np.uint8) % 10
    pictures = np.zeros((count, 28, 28), np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        picture[4:24, 2 * label : 2 * label + 3] = 255
    heads = {
        "images-idx3": np.array([0x803, count, 28, 28], ">u4").tobytes() + pictures.tobytes(),
        "labels-idx1": np.array([0x801, count], ">u4").tobytes() + labels.tobytes(),
    }
    for kind, content in heads.items():
        (folder / f"{split}-{kind}-ubyte").write_bytes(content)
    return folder
