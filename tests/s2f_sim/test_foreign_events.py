"""RAW and AEDAT files. What reads them writes them too; the bytes of one EVT 2 file are by hand."""

from pathlib import Path

import numpy as np
import pytest

from s2f_deploy.errors import InputError
from s2f_sim.camera_files import read_events

EVT2_HEADER = b"% evt 2.0\n% format EVT2;width=64;height=48\n% geometry 64x48\n% end\n"


def evt2(words: list[int], header: bytes = EVT2_HEADER) -> bytes:
    return header + np.array(words, "<u4").tobytes()


def high(time_us: int) -> int:
    return 8 << 28 | time_us >> 6


def change(time_us: int, x: int, y: int, p: int) -> int:
    return p << 28 | (time_us & 63) << 22 | x << 11 | y


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faery.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = tmp_path / "a.raw"
    path.write_bytes(evt2([]))
    with pytest.raises(InputError, match=r"s2f\[events\]"):
        read_events(path)


def test_a_library_that_dies_takes_nobody_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faery.py").write_text("import os\nos.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = tmp_path / "a.raw"
    path.write_bytes(evt2([]))
    with pytest.raises(InputError, match="the file is damaged"):
        read_events(path)


def test_an_evt2_file_by_hand(tmp_path: Path) -> None:
    pytest.importorskip("faery", reason="faery is not installed")
    path = tmp_path / "a.raw"
    times = (1000, 1001, 9000)
    path.write_bytes(
        evt2(
            [
                high(times[0]),
                change(times[0], 63, 0, 1),
                change(times[1], 0, 47, 0),
                high(times[2]),
                change(times[2], 5, 6, 1),
            ]
        )
    )
    events = read_events(path)
    assert (events.width, events.height) == (64, 48)
    assert (events.t - events.t[0]).tolist() == [0, 1, 8000]
    assert events.x.tolist() == [63, 0, 5]
    assert events.y.tolist() == [0, 47, 6]
    assert events.p.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.raw", {"version": "evt2"}),
        ("a.raw", {"version": "evt3"}),
        ("a.aedat4", {}),
        ("a.dat", {}),
    ],
)
def test_what_others_write_is_read(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    faery = pytest.importorskip("faery", reason="faery is not installed")
    rng = np.random.default_rng(3)
    written = np.zeros(400, faery.EVENTS_DTYPE)
    written["t"] = np.sort(rng.integers(0, 1_000_000, 400))
    written["x"], written["y"] = rng.integers(0, 304, 400), rng.integers(0, 240, 400)
    written["on"] = rng.integers(0, 2, 400)
    path = tmp_path / name
    faery.events_stream_from_array(written, (304, 240)).to_file(path, **options)
    events = read_events(path)
    assert (events.width, events.height) == (304, 240)
    # Where the clock starts is the writer's business.
    assert (events.t - events.t[0] == (written["t"] - written["t"][0]).astype(np.int64)).all()
    for mine, theirs in ((events.x, "x"), (events.y, "y"), (events.p, "on")):
        assert (mine == written[theirs]).all()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "no events"),
        ([high(64), change(64, 64, 0, 1)], "cannot be read"),
        ([high(64), change(64, 0, 48, 1)], "cannot be read"),
    ],
)
def test_hostile_raw_files_give_one_error(tmp_path: Path, words: list[int], reason: str) -> None:
    pytest.importorskip("faery", reason="faery is not installed")
    path = tmp_path / "a.raw"
    path.write_bytes(evt2(words))
    with pytest.raises(InputError, match=reason):
        read_events(path)


def test_mutated_aedat_files_are_read_or_refused(tmp_path: Path) -> None:
    faery = pytest.importorskip("faery", reason="faery is not installed")
    rng = np.random.default_rng(0)
    written = np.zeros(50, faery.EVENTS_DTYPE)
    written["t"] = np.arange(50)
    path = tmp_path / "a.aedat4"
    faery.events_stream_from_array(written, (64, 48)).to_file(path)
    good = path.read_bytes()
    refused = 0
    for _ in range(5):
        damaged = bytearray(good)
        for at in rng.integers(14, len(good), 12):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_events(path)
        except InputError:
            refused += 1
    assert refused
