from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from s2f_deploy import S2FError
from s2f_sim.photograph import read_image

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_rgb_is_read_as_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(PIXELS))
    np.testing.assert_array_equal(np.asarray(read_image(path)), PIXELS)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    name = "a.tif" if mode == "CMYK" else "a.png"
    if mode == "I;16":
        image = Image.fromarray(np.full((6, 9), 65535, np.uint16))
    else:
        image = Image.fromarray(PIXELS).convert(mode)
    read = read_image(saved(tmp_path / name, image))
    assert (read.mode, read.size) == ("RGB", (9, 6))
    if mode == "I;16":
        assert np.asarray(read).min() == 255


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGBA", (2, 2), (9, 9, 9, 0)))
    assert np.asarray(read_image(path)).min() == 255


def test_the_noted_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    exif = image.getexif()
    exif[0x0112] = 6
    assert read_image(saved(tmp_path / "a.jpg", image, exif=exif)).size == (6, 9)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert np.asarray(read_image(path))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"%!PS"])
def test_what_is_no_image_is_one_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(S2FError, match=r"a\.png"):
        read_image(path)


def test_folders_and_missing_files_are_one_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.png"):
        with pytest.raises(S2FError, match="no such file"):
            read_image(path)


def test_a_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("1", (20_000, 20_000)))
    with pytest.raises(S2FError, match="more than"):
        read_image(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_image_is_one_error_or_an_image(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    content = bytearray(saved(path, Image.fromarray(PIXELS)).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        image = read_image(path)
    except S2FError:
        return
    assert image.mode == "RGB"
