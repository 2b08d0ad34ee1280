from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_sim.camera_events import Events
from s2f_sim.camera_files import read_events

GOLDEN = Path(__file__).parents[1] / "golden/spike_yolo_preprocess/preprocess_gen1.npz"
HEADER = b"% Version 2\n% Date 2019\n% Height 240\n% Width 304\n\x00\x08"
EVENTS = [(5, 3, 7, 1), (5, 303, 239, 0), (4_000_000_000, 0, 0, 1)]


def dat(events: list[tuple[int, int, int, int]], header: bytes = HEADER) -> bytes:
    words = [(t, x | y << 14 | p << 28) for t, x, y, p in events]
    return header + np.array(words, "<u4").tobytes()


def nmnist(events: list[tuple[int, int, int, int]]) -> bytes:
    packed = (x << 32 | y << 24 | p << 23 | t for t, x, y, p in events)
    return b"".join(word.to_bytes(5, "big") for word in packed)


def listed(events: Events) -> list[tuple[int, ...]]:
    columns = (events.t, events.x, events.y, events.p)
    return [tuple(row) for row in zip(*(c.tolist() for c in columns), strict=True)]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Events]:
    def write_and_read(content: bytes, name: str, **options: Any) -> Events:
        path = tmp_path / name
        path.write_bytes(content)
        return read_events(path, **options)

    return write_and_read


def test_every_bit_of_a_dat_event(read: Callable[..., Events]) -> None:
    events = read(dat(EVENTS), "a.dat")
    assert listed(events) == EVENTS
    assert (events.width, events.height) == (304, 240)
    assert [str(a.dtype) for a in (events.t, events.x, events.p)] == ["int64", "uint16", "uint8"]


def test_the_golden_file(read: Callable[..., Events]) -> None:
    events = read(np.load(GOLDEN)["dat"].tobytes(), "golden.DAT")
    assert len(events) == 6000
    assert len(events.window(140_000, 265_000)) == 1795
    assert len(events.window(265_000, 390_000)) == 1934


def test_a_file_that_says_no_size_is_gen1s_or_as_told(read: Callable[..., Events]) -> None:
    bare = dat(EVENTS, b"\x0c\x08")
    assert read(bare, "a.dat").width == 304
    assert read(bare, "a.dat", sensor=(640, 480)).width == 640
    assert read(dat(EVENTS), "a.dat", sensor=(640, 480)).width == 304


@pytest.mark.parametrize("name", ["a.bin", "a.bs2"])
def test_every_bit_of_an_nmnist_event(read: Callable[..., Events], name: str) -> None:
    events = read(nmnist([(0x000201, 33, 1, 1), (0x7FFFFF, 0, 33, 0)]), name)
    assert listed(events) == [(0x000201, 33, 1, 1), (0x7FFFFF, 0, 33, 0)]
    assert (events.width, events.height) == (34, 34)
    wide = nmnist([(1, 200, 100, 1)])
    assert read(wide, name, sensor=(240, 180)).width == 240


def test_the_clock_of_an_nmnist_file_may_run_over(read: Callable[..., Events]) -> None:
    events = read(nmnist([(8000, 1, 2, 1), (0, 0, 240, 0), (3, 4, 5, 0)]), "a.bin")
    assert listed(events) == [(8000, 1, 2, 1), (8195, 4, 5, 0)]


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (dat(EVENTS)[:-1], "a.dat", "ends within an event"),
        (dat([]), "a.dat", "no events"),
        (b"", "a.dat", "no DAT file"),
        (HEADER[:-2], "a.dat", "no DAT file"),
        (HEADER[:20], "a.dat", "header is cut"),
        (b"% x\n" * 20_000, "a.dat", "longer than 65,536"),
        (b"%" + b"x" * 200_000, "a.dat", "longer than 65,536"),
        (dat(EVENTS, HEADER[:-2] + b"\x0e\x08"), "a.dat", "no DAT file"),
        (dat(EVENTS, HEADER[:-2] + b"\x00\x10"), "a.dat", "no DAT file"),
        (dat(EVENTS, HEADER.replace(b"Version 2", b"Version 1")), "a.dat", "version 1"),
        (dat(EVENTS, HEADER.replace(b"304", b"99999999")), "a.dat", "99,999,999x240"),
        (dat(EVENTS, HEADER.replace(b"304", b"0")), "a.dat", "0x240"),
        (dat([(5, 0, 0, 1), (4, 0, 0, 1)]), "a.dat", "time of event 1 is before"),
        (dat([(5, 304, 0, 1)]), "a.dat", "x 304, y 0 of a sensor of 304x240"),
        (dat([(5, 0, 16383, 1)]), "a.dat", "x 0, y 16383"),
        (b"", "a.bin", "no events"),
        (b"1234", "a.bin", "ends within an event"),
        (nmnist([(5, 1, 1, 1), (4, 1, 1, 1)]), "a.bs2", "before that"),
        (nmnist([(5, 34, 1, 1)]), "a.bs2", "x 34, y 1 of a sensor of 34x34"),
        (nmnist([(0, 0, 240, 0)]), "a.bin", "no events"),
        (b"", "a.raw", "no RAW file"),
        (b"% evt 4.0\n", "a.raw", "no RAW file"),
        (b"% evt 3.0\n", "a.raw", "how large the sensor is"),
        (dat(EVENTS), "a.aedat4", "no AEDAT file"),
        (b"#!AER-DAT3.1\r\n", "a.aedat4", "no AEDAT file"),
        (b"", "a.npy", "'.npy' is no known format"),
        (b"", "events", "no extension"),
    ],
)
def test_hostile_files_give_one_error(
    read: Callable[..., Events], content: bytes, name: str, words: str
) -> None:
    with pytest.raises(InputError) as refused:
        read(content, name)
    assert words in str(refused.value)
    assert name in str(refused.value)


def test_what_is_no_file_gives_one_error(tmp_path: Path) -> None:
    (tmp_path / "folder.dat").mkdir()
    for name in ("missing.dat", "missing.bin", "missing.raw", "missing.aedat4", "folder.dat"):
        with pytest.raises(InputError, match="cannot be read"):
            read_events(tmp_path / name)


def mutated(rng: np.random.Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        reach = 120 if rng.random() < 0.5 else len(changed)
        at = int(rng.integers(0, min(len(changed), reach)))
        match rng.integers(0, 4):
            case 0:
                changed[at] = int(rng.integers(256))
            case 1:
                del changed[max(at, 1) : at + int(rng.integers(1, 20))]
            case 2:
                changed[at:at] = rng.bytes(int(rng.integers(1, 20)))
            case _:
                del changed[max(at, 1) :]
    return bytes(changed)


@pytest.mark.parametrize("name", ["a.dat", "a.bs2"])
def test_mutations_are_read_or_refused(read: Callable[..., Events], name: str) -> None:
    rng = np.random.default_rng(7)
    times = np.sort(rng.integers(0, 300_000, 60))
    drawn = [(int(t), *rng.integers(0, 34, 2).tolist(), int(rng.integers(2))) for t in times]
    good = dat(drawn) if name == "a.dat" else nmnist(drawn)
    refused = passed = 0
    for _ in range(500):
        try:
            events = read(mutated(rng, good), name)
        except InputError:
            refused += 1
            continue
        passed += 1
        assert (np.diff(events.t) >= 0).all()
        assert events.t[0] >= 0
        assert events.x.max() < events.width <= 4096
        assert events.y.max() < events.height <= 4096
        assert events.p.max() <= 1
    assert min(refused, passed) > 20


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(-5, 60), st.integers(-5, 60))
def test_a_window_holds_its_start_and_not_its_end(times: list[int], start: int, end: int) -> None:
    t = np.sort(np.array(times))
    zeros: NDArray[np.int64] = np.zeros(len(t), np.int64)
    events = Events.checked(t, zeros, zeros, zeros, sensor=(1, 1), where="test")
    part = events.window(start, end) if start <= end else events.window(start, start)
    assert part.t.tolist() == [v for v in t.tolist() if start <= v < max(start, end)]
    assert (part.width, part.height) == (1, 1)
