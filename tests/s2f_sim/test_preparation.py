"""How files become what a network takes, as artefacts and checkpoints say it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from s2f_deploy.errors import InputError
from s2f_sim.camera_files import read_events
from s2f_sim.camera_frames import count_frames, gen1_frames, gen1_input
from s2f_sim.centre_crop import CentreCrop
from s2f_sim.event_frames import COUNTS, POLARITY, EventFrames
from s2f_sim.preparation import Preparation, prepare_pictures, read_preparation, write_preparation
from s2f_sim.sample import Recording
from s2f_sim.usual_preparation import usual_preparation
from s2f_sim.whole_picture import WholePicture

GOLDEN = Path(__file__).parents[1] / "golden/spike_yolo_preprocess/preprocess_coco.npz"
GEN1 = EventFrames(POLARITY, 2, 250_000, (320, 320))
COUNTED = EventFrames(COUNTS, 3, None, (34, 34), 4)
KINDS: list[Preparation] = [CentreCrop.imagenet(32), WholePicture(64, 96), GEN1, COUNTED]


@pytest.mark.parametrize("made", KINDS, ids=lambda made: type(made).__name__)
def test_it_survives_being_written_down(made: Preparation) -> None:
    assert read_preparation(write_preparation(made), where="x") == made


def test_without_a_kind_it_is_a_crop() -> None:
    crop = CentreCrop.imagenet(32)
    assert read_preparation(crop.to_dict(), where="x") == crop


@pytest.mark.parametrize(
    ("made", "change"),
    [
        (GEN1, {"kind": "guess"}),
        (GEN1, {"kind": ["letterbox"]}),
        (GEN1, {"steps": 0}),
        (GEN1, {"steps": True}),
        (GEN1, {"window_us": None}),
        (GEN1, {"sensor": [320, 240]}),
        (GEN1, {"sensor": [320]}),
        (GEN1, {"sensor": [1 << 40, 1 << 40]}),
        (GEN1, {"frames": "colour"}),
        (COUNTED, {"largest": 256}),
        (COUNTED, {"more": 1}),
        (WholePicture(64, 64), {"height": 1e9}),
        (WholePicture(64, 64), {"interpolation": None}),
    ],
)
def test_impossible_settings_are_one_error(made: Preparation, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"net\.s2f"):
        read_preparation(write_preparation(made) | change, where="net.s2f")


def test_settings_that_are_no_table() -> None:
    with pytest.raises(InputError, match="no table"):
        read_preparation([1, 2], where="x")


def test_a_whole_picture_is_the_published_codes(tmp_path: Path) -> None:
    golden = np.load(GOLDEN)
    path = tmp_path / "a.png"
    Image.fromarray(golden["image_bgr"][..., ::-1]).save(path)
    sample = WholePicture(64, 64).read(path)
    want = golden["predict_square"].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(sample.x, want)
    assert sample.letterbox is not None
    assert sample.letterbox.shape == (64, 64)


def test_a_picture_of_the_right_shape_is_only_divided() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    x = prepare_pictures(pixels, WholePicture(64, 96, "bilinear"))
    np.testing.assert_array_equal(x, pixels.transpose(0, 3, 1, 2) / np.float32(255))


def write_gen1(path: Path, times: list[int]) -> Path:
    """Events wandering over the sensor, in Prophesee's format."""
    stored = np.zeros(len(times), np.dtype([("t", "<u4"), ("word", "<u4")]))
    stored["t"] = times
    at = np.arange(len(times), dtype=np.uint32)
    stored["word"] = at * 7 % 304 | (at * 5 % 240) << 14 | at % 2 << 28
    path.write_bytes(b"% Data file\n\x00\x08" + stored.tobytes())
    return path


def test_recordings_are_cut_at_the_time_that_is_asked_for(tmp_path: Path) -> None:
    path = write_gen1(tmp_path / "a.dat", list(range(0, 1_000_000, 500)))
    events = read_events(path)
    for at_us, end in ((600_000, 600_000), (None, 999_501)):
        sample = GEN1.read(path, at_us)
        assert isinstance(sample.source, Recording)
        assert (sample.source.start, sample.source.end) == (end - 250_000, end)
        assert len(sample.source.events) == 500
        assert sample.x.shape == (1, 2, 3, 320, 320)
        np.testing.assert_array_equal(sample.x, gen1_input(gen1_frames(events, end, 2)))
        assert sample.letterbox is not None
        assert sample.letterbox.picture == (240, 304)


@pytest.mark.parametrize("at_us", [0, 5_000_000])
def test_a_time_without_events_is_refused(at_us: int, tmp_path: Path) -> None:
    path = write_gen1(tmp_path / "a.dat", [100, 2000])
    with pytest.raises(InputError, match="no events"):
        GEN1.read(path, at_us)
    blank = GEN1.sample(path, read_events(path), at_us).x
    # Grey where the sensor is, the letterbox's grey around it.
    assert set(np.unique(blank * np.float32(255)).tolist()) == {114.0, 127.0}


def write_nmnist(path: Path, count: int = 90) -> Path:
    rows = np.zeros((count, 5), np.uint8)
    at = np.arange(count)
    rows[:, 0], rows[:, 1] = at % 3, at % 2
    rows[:, 2] = at % 2 << 7
    rows[:, 4] = at
    path.write_bytes(rows.tobytes())
    return path


def test_counts_of_the_whole_recording_are_cut_at_the_largest(tmp_path: Path) -> None:
    path = write_nmnist(tmp_path / "a.bs2")
    counts = count_frames(read_events(path), 3)
    assert counts.max() > COUNTED.largest
    sample = COUNTED.read(path)
    np.testing.assert_array_equal(sample.x[0], counts.clip(0, 4))
    assert sample.letterbox is None
    once = EventFrames(COUNTS, 1, None, (34, 34), 255).read(path)
    np.testing.assert_array_equal(once.x, counts.sum(axis=0)[None])


def test_what_a_network_of_whole_recordings_cannot_take(tmp_path: Path) -> None:
    path = write_nmnist(tmp_path / "a.bs2")
    with pytest.raises(InputError, match="leave --at out"):
        COUNTED.read(path, 5)
    with pytest.raises(InputError, match="304x240 pixels, the network takes 34x34"):
        COUNTED.read(write_gen1(tmp_path / "a.dat", [0, 1]))
    with pytest.raises(InputError, match="no events"):
        COUNTED.prepare(Image.new("RGB", (9, 9)))


@pytest.mark.parametrize(
    ("task", "shape", "steps", "kind"),
    [
        ("classification", (3, 32, 32), 1, CentreCrop),
        ("detection", (3, 64, 96), 1, WholePicture),
        ("detection", (3, 320, 320), 2, EventFrames),
        ("classification", (2, 34, 34), 1, EventFrames),
    ],
)
def test_what_is_usual(task: str, shape: tuple[int, ...], steps: int, kind: type) -> None:
    assert isinstance(usual_preparation(task, shape, steps, where="x"), kind)


@pytest.mark.parametrize("shape", [(8,), (5, 32, 32)])
def test_inputs_that_nobody_feeds(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="nothing is known"):
        usual_preparation("classification", shape, 1, where="x")
