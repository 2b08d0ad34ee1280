"""Made-up files of the data sets that segmentation networks are trained on."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def write_photographs(folder: Path, count: int = 2) -> Path:
    """Pictures of 150x140 in one colour each, and a file that is none."""
    folder.mkdir(exist_ok=True)
    for i in range(count):
        pixels = np.full((140, 150, 3), (60 + 30 * i, 90, 120), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "LICENCES.md").write_text("none")
    return folder


def write_streets(path: Path, count: int = 3) -> Path:
    """Pictures of 32x24: sky above, road below, a car in a corner, unknown at the left edge."""
    with zipfile.ZipFile(path, "w") as members:
        for split in ("train", "val", "test"):
            for i in range(count):
                labels = np.zeros((24, 32), np.uint8)
                labels[12:] = 3
                labels[18:, 20 + i :] = 8
                labels[:, :2] = 11
                pixels = np.stack([20 * labels, 255 - 20 * labels, 10 * labels], 2).astype(np.uint8)
                for folder, kind, content in (
                    (split, "jpg", pixels),
                    (f"{split}annot", "png", labels),
                ):
                    stored = io.BytesIO()
                    Image.fromarray(content).save(stored, {"jpg": "JPEG", "png": "PNG"}[kind])
                    members.writestr(f"{folder}/{i}.{kind}", stored.getvalue())
    return path
