import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from s2f_deploy.errors import InputError
from s2f_sim.camera_events import Events
from s2f_sim.camera_files import read_events
from s2f_sim.camera_frames import (
    binary_frames,
    count_frames,
    gen1_frames,
    gen1_input,
    gen1_letterbox,
)
from s2f_sim.camera_picture import BRIGHTER, DARKER, draw_events

GOLDEN = Path(__file__).parents[1] / "golden/spike_yolo_preprocess/preprocess_gen1.npz"
FRAMES_SHA256 = "6840b2becee6956b859008a4570d97abe4600255f6bf8af10efdcd77b77f187b"


@pytest.fixture
def golden_events(tmp_path: Path) -> Events:
    path = tmp_path / "golden.dat"
    np.load(GOLDEN)["dat"].tofile(path)
    return read_events(path)


def draw(seed: int, count: int, until_us: int) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, until_us, count))
    x, y, p = (rng.integers(0, n, count) for n in (5, 4, 2))
    return Events.checked(t, x, y, p, sensor=(5, 4), where="test")


def test_frames_and_input_are_the_published_codes(golden_events: Events) -> None:
    golden = np.load(GOLDEN)
    frames = gen1_frames(golden_events, 390_000, 2)
    stored = np.ascontiguousarray(frames.transpose(0, 2, 1))
    assert (stored == golden["frames_TWH"]).all()
    assert hashlib.sha256(stored.tobytes()).hexdigest() == FRAMES_SHA256
    tensor = gen1_input(frames)
    assert tensor.shape == (1, 2, 3, 320, 320)
    assert tensor.dtype == np.float32
    expected = golden["input_T_320_320"].astype(np.float32) / np.float32(255)
    for channel in range(3):
        assert (tensor[0, :, channel] == expected).all()


def test_boxes_go_back_to_the_sensors_pixels(golden_events: Events) -> None:
    fit = gen1_letterbox(gen1_frames(golden_events, 390_000, 2))
    assert (fit.shape, fit.before, fit.after) == ((320, 320), (33, 0), (34, 0))
    back = fit.to_picture(np.array([[0, 33, 320, 286]]))
    assert back == pytest.approx(np.array([[0, 0, 304, 240]]))


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(0, 700_000))
def test_the_last_event_of_a_bin_decides(seed: int, bins: int, label_us: int) -> None:
    events = draw(seed, 60, 600_000)
    expected = np.full((bins, 4, 5), 127)
    start, width = max(0, label_us - 250_000), 250_000 // bins
    for t, x, y, p in zip(events.t, events.x, events.y, events.p, strict=True):
        part = (int(t) - start) // width
        if start <= t < label_us and part < bins:
            expected[part, y, x] = 255 * int(p)
    assert (gen1_frames(events, label_us, bins) == expected).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_every_event_is_counted_once(seed: int, bins: int) -> None:
    events = draw(seed, 60, 1000)
    start, end = int(events.t[0]), int(events.t[-1]) + 1
    if end - start < bins:
        return
    counts = count_frames(events, bins)
    expected = np.zeros((bins, 2, 4, 5), int)
    for t, x, y, p in zip(events.t, events.x, events.y, events.p, strict=True):
        expected[(int(t) - start) * bins // (end - start), p, y, x] += 1
    assert (counts == expected).all()
    assert counts.sum() == len(events)
    assert (binary_frames(events, bins) == (expected > 0)).all()


def test_windows_beyond_the_recording_are_empty_frames() -> None:
    events = draw(0, 60, 1000)
    assert count_frames(events, 3, 5000, 6000).sum() == 0
    assert count_frames(events, 3, -1000, 2000).sum() == 60
    assert count_frames(events.window(9, 9), 2, 0, 10).sum() == 0


def test_impossible_windows_are_refused() -> None:
    events = draw(0, 60, 1000)
    for bins in (0, -1, 2000):
        with pytest.raises(InputError, match="bins"):
            count_frames(events, bins)
    with pytest.raises(InputError, match="bins"):
        gen1_frames(events, 1000, 250_001)
    with pytest.raises(InputError, match="bins"):
        count_frames(events, 1, 10, 10)
    with pytest.raises(InputError, match="frames of"):
        count_frames(events, 1 << 24, 0, 1 << 25)
    with pytest.raises(InputError, match="bins"):
        count_frames(events, 4, 0, 1 << 61)
    with pytest.raises(InputError, match="no events"):
        count_frames(events.window(9, 9), 2)


def test_brighter_is_red_darker_is_blue_and_nothing_is_white() -> None:
    t = np.arange(10)
    x, p = np.array([0] * 5 + [33] * 5), np.array([1] * 5 + [0] * 5)
    events = Events.checked(t, x, x, p, sensor=(34, 34), where="test")
    content = draw_events(events, title="t", caption="c")
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.format == "PNG"
        picture = opened.convert("RGB")
    corners = [picture.getpixel((28 + at, 66 + at)) for at in (2, 33 * 8 + 4, 100)]
    red, blue = (tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in (BRIGHTER, DARKER))
    assert corners == [red, blue, (255, 255, 255)]


@pytest.mark.parametrize("bins", [1, 7])
@pytest.mark.parametrize("sensor", [(34, 34), (1280, 720), (1, 1), (4096, 8)])
def test_events_of_any_sensor_are_drawn(bins: int, sensor: tuple[int, int]) -> None:
    zeros = np.zeros(40, int)
    events = Events.checked(np.arange(40), zeros, zeros, zeros, sensor=sensor, where="test")
    content = draw_events(events, bins, title="a title " * 40, caption="猫$x$ " * 90)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.width <= 4096 + 100
