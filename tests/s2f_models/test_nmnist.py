import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nmnist_archive import encode, write_archive

from s2f_models import nmnist
from s2f_models.nmnist import Recording, augmented, decode, frames, read_archive
from s2f_sim.camera_files import read_events
from s2f_sim.camera_frames import count_frames


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "nmnist.zip")


@pytest.fixture
def recordings(archive: Path) -> list[Recording]:
    return read_archive(archive, "train")


def test_archive_is_read_as_the_simulator_reads_it(archive: Path, tmp_path: Path) -> None:
    for split, numbers in (("train", range(1, 7)), ("test", range(60_001, 60_007))):
        recordings = read_archive(archive, split)
        assert [r.label for r in recordings] == [number % 10 for number in numbers]
        for recording, number in zip(recordings, numbers, strict=True):
            with zipfile.ZipFile(archive) as members:
                events = read_events(members.extract(f"{number}.bs2", tmp_path))
            for column in "txyp":
                read = getattr(recording, column).tolist()
                assert read == getattr(events, column).tolist()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6), st.booleans())
def test_frames_are_the_simulators(
    tmp_path: Path, seed: int, timesteps: int, levels: int, overflow: bool
) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 80))
    times = np.sort(rng.integers(0, 1 << 13, count)) + np.arange(count)
    # Few places, so that counts reach the limit.
    places, polarities = rng.integers(0, 34, (3, 2)), rng.integers(0, 2, count)
    events = [
        (int(t), *places[rng.integers(3)].tolist(), int(p))
        for t, p in zip(times, polarities, strict=True)
    ]
    if overflow:
        # Overflows that other events follow.
        again = [(t, x, y, 1 - p) for t, x, y, p in events]
        events = [*events, (0, 0, 240, 0), (0, 0, 240, 0), *again]
    path = tmp_path / "drawn.bs2"
    path.write_bytes(encode(events))
    read = read_events(path)
    if int(read.t[-1]) + 1 - int(read.t[0]) < timesteps:
        return
    expected = np.minimum(count_frames(read, timesteps), levels)
    counted = frames(decode(path.read_bytes(), 0), timesteps, levels)
    assert counted.dtype == torch.float32
    assert counted.tolist() == expected.tolist()


def test_without_distortion_frames_stay(
    recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_TURN", "_SHEAR", "_ZOOM", "_SHIFT", "_BEND", "_LATER", "_LOST"):
        monkeypatch.setattr(nmnist, name, 0.0)
    generator = torch.Generator().manual_seed(0)
    for recording in recordings:
        shown = augmented(recording, 3, 4, generator)
        assert torch.equal(shown, frames(recording, 3, 4))


@pytest.mark.parametrize(
    ("name", "value"),
    [("_TURN", 30.0), ("_SHEAR", 0.5), ("_ZOOM", 0.5), ("_SHIFT", 8.0), ("_BEND", 3.0)],
)
def test_each_distortion_moves_events_and_loses_few(
    recordings: list[Recording], monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    for other in ("_TURN", "_SHEAR", "_ZOOM", "_SHIFT", "_BEND", "_LATER", "_LOST"):
        monkeypatch.setattr(nmnist, other, value if other == name else 0.0)
    # A digit in the middle of the sensor and of time stays on it.
    r = recordings[4]
    middle = Recording(r.t, 14 + r.x % 6, 14 + r.y % 6, r.p, r.label)
    original = frames(middle, 3, 200)
    for seed in range(3):
        shown = augmented(middle, 3, 200, torch.Generator().manual_seed(seed))
        assert not torch.equal(shown, original)
        # In space alone, and without a change of polarity.
        assert torch.equal(shown.sum((2, 3)), original.sum((2, 3)))


def test_lost_events_and_other_windows(
    recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    original = frames(recordings[0], 3, 200)
    for name in ("_TURN", "_SHEAR", "_ZOOM", "_SHIFT", "_BEND", "_LATER", "_LOST"):
        monkeypatch.setattr(nmnist, name, 0.0)
    monkeypatch.setattr(nmnist, "_LOST", 0.4)
    fewer = augmented(recordings[0], 3, 200, generator)
    assert (fewer <= original).all()
    assert original.sum() * 0.5 < fewer.sum() < original.sum()
    monkeypatch.setattr(nmnist, "_LOST", 0.0)
    monkeypatch.setattr(nmnist, "_LATER", 0.1)
    shifted = augmented(recordings[0], 3, 200, generator)
    assert not torch.equal(shifted, original)
    # What happens at a pixel happens there, in whichever frame.
    assert (shifted.sum(0) <= original.sum(0)).all()
