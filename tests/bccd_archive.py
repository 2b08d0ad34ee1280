"""Made-up archives of blood cell pictures."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

OBJECT = """<object><name>{name}</name><bndbox>
<xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def write_archive(path: Path, count: int = 3) -> Path:
    """Pictures of 640x480 with a red WBC on grey, and an annotation of no width."""
    names = [f"Blood_{i}" for i in range(count)]
    with zipfile.ZipFile(path, "w") as members:
        for i, name in enumerate(names):
            box = (100 + 40 * i, 120, 220 + 40 * i, 200)
            pixels = np.full((480, 640, 3), 114, np.uint8)
            pixels[box[1] : box[3], box[0] : box[2]] = (250, 30, 30)
            jpeg = io.BytesIO()
            Image.fromarray(pixels).save(jpeg, "JPEG", quality=95)
            members.writestr(f"BCCD/JPEGImages/{name}.jpg", jpeg.getvalue())
            objects = OBJECT.format(*box, name="WBC") + OBJECT.format(9, 9, 9, 20, name="RBC")
            members.writestr(f"BCCD/Annotations/{name}.xml", f"<annotation>{objects}</annotation>")
        for split, listed in (("trainval", names), ("test", names[:1])):
            members.writestr(f"BCCD/ImageSets/Main/{split}.txt", "\n".join(listed))
    return path
