"""Damaged checkpoints, recordings and artefacts: one error that says why, or a file that works.

Nothing else may come out of reading them: no other exception, no warning, no wait of seconds, no
file outside of where output was asked for. ``S2F_MUTANTS`` says how many of each kind are drawn.
"""

import faulthandler
import math
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import mutants
import numpy as np
import pytest
from click.testing import CliRunner
from networks import NetworkBuilder
from PIL import Image
from real_time_networks import TimedBuilder
from spike_yolo_golden import official_checkpoint

import s2f_deploy
from s2f_cli.main import s2f
from s2f_deploy import Graph, S2FError
from s2f_models import ModelError, load_checkpoint
from s2f_sim import Simulator, verify
from s2f_sim.event_frames import EventFrames
from s2f_sim.inspection import inspect_graph

MUTANTS = int(os.environ.get("S2F_MUTANTS", "100"))
_LONGEST_S, _STUCK_S = 10.0, 300.0
Draw = Callable[[random.Random], bytes]
Use = Callable[[Path], object]


class TooLongError(BaseException):
    """Nothing that catches every Exception catches this."""


def _give_up(_: int, __: FrameType | None) -> None:
    raise TooLongError


@contextmanager
def limited() -> Iterator[None]:
    """End what works for seconds; end everything where compiled code does not come back."""
    before = signal.signal(signal.SIGPROF, _give_up)
    faulthandler.dump_traceback_later(_STUCK_S, exit=True, file=sys.stderr.fileno())
    signal.setitimer(signal.ITIMER_PROF, _LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGPROF, before)


def check_message(message: str) -> None:
    """It says where and how to mend it, and moves no cursor."""
    assert "\n  at:  " in message
    assert "\n  fix: " in message
    assert all(c.isprintable() or c == "\n" for c in message)


@pytest.fixture
def survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, int]]:
    """Use mutants one by one in an empty directory; how many were refused and how many were not."""
    empty = tmp_path / "cwd"
    empty.mkdir()
    monkeypatch.chdir(empty)

    def every(name: str, draw: Draw, use: Use, count: int) -> tuple[int, int]:
        path, refused = tmp_path / name, 0
        for seed in range(count):
            content = draw(random.Random(seed))
            path.write_bytes(content)
            there = set(tmp_path.iterdir())
            try:
                with limited():
                    use(path)
            except (S2FError, ModelError) as error:
                refused += 1
                check_message(str(error))
            except BaseException as error:
                error.add_note(f"{name}: mutant {seed}")
                raise
            assert set(tmp_path.iterdir()) == there
            assert path.read_bytes() == content
            assert not list(empty.iterdir())
        return refused, count - refused

    return every


def torn(good: bytes, **weights: int) -> Draw:
    """Bytes of an archive damaged anywhere, or one member of it whose sums are right again."""
    by_name = {name.replace("_", "."): weight for name, weight in weights.items()}

    def draw(source: random.Random) -> bytes:
        if source.random() < 0.15:
            return mutants.damaged(source, good)
        return mutants.member_changed(source, good, by_name)

    return draw


def test_checkpoints(survive: Callable[..., tuple[int, int]]) -> None:
    """A whole detector as the official trainer saves it."""
    draw = torn(official_checkpoint(), data_pkl=600)
    refused, read = survive("x.pt", draw, load_checkpoint, math.ceil(MUTANTS / 10))
    assert min(refused, read) > 0


def recording(name: str) -> bytes:
    rng = np.random.default_rng(7)
    t = np.sort(rng.integers(0, 300_000, 60)).tolist()
    x, y = rng.integers(0, 34, (2, 60)).tolist()
    p = rng.integers(0, 2, 60).tolist()
    events = list(zip(t, x, y, p, strict=True))
    if name.endswith(".dat"):
        header = b"% Version 2\n% Height 34\n% Width 34\n\x00\x08"
        words = [(t, x | y << 14 | p << 28) for t, x, y, p in events]
        return header + np.array(words, "<u4").tobytes()
    return b"".join((x << 32 | y << 24 | p << 23 | t).to_bytes(5, "big") for t, x, y, p in events)


@pytest.mark.parametrize("name", ["x.dat", "x.bs2"])
@pytest.mark.parametrize("frames", ["counts", "polarity"])
def test_recordings(name: str, frames: str, survive: Callable[..., tuple[int, int]]) -> None:
    preparation = EventFrames(frames, 2, 100_000, (34, 34), 3)
    good = recording(name)

    def draw(source: random.Random) -> bytes:
        change = mutants.renumbered if source.random() < 0.2 else mutants.damaged
        return change(source, good)

    def use(path: Path) -> None:
        sample = preparation.read(path)
        assert np.isfinite(sample.x).all()
        assert sample.x.shape[-2:] == (34, 34)

    refused, read = survive(name, draw, use, 3 * MUTANTS)
    assert min(refused, read) > 0


@pytest.fixture(scope="module")
def still() -> Graph:
    """Almost every operation in 46 nodes: groups, pooling, attention, wiring, a host's tail."""
    made = NetworkBuilder(np.random.default_rng(5), 4, 4.0, "half_even")
    made.shapes["image"] = (3, 8, 8)
    x = made.conv("image", 4, 3, 1, 1, 1)
    x = made.conv(made.neuron(x), 4, 3, 1, 1, 2)
    branch = made.conv(made.neuron(x), 4, 3, 1, 1, 4)
    x = made.add("Add", [x, branch], made.shapes[x])
    pooled = made.pyramid(made.conv(made.neuron(x), 2, 1, 1, 0, 1))
    x = made.add("Add", [x, made.conv(pooled, 4, 1, 1, 0, 1)], made.shapes[x])
    attended = made.neuron(made.attention(made.neuron(x), 2, scores_first=True))
    x = made.add("Add", [x, made.conv(attended, 4, 1, 1, 0, 1)], made.shapes[x])
    x = made.upsampled(made.conv(made.neuron(made.max_pooled(x, 2, 2, 0)), 4, 1, 1, 0, 1), 2, 2)
    x = made.conv(made.neuron(made.concat(x, x)), 3, 3, 1, 1, 1)
    output = made.add("Softmax", [x], made.shapes[x], axis=1)
    return s2f_deploy.lower_content(made.model((3, 8, 8), output), "still", "int8")


@pytest.fixture(scope="module")
def moving() -> Graph:
    """Two real timesteps, weights as trained."""
    made = TimedBuilder(np.random.default_rng(6), 4, 1.0, "half_even")
    made.timesteps = 2
    x = made.same(made.started((3, 6, 6), framed=False), 4)
    x = made.add("Add", [x, made.same(made.neuron(x), 4)], made.shapes[x])
    large = made.upsampled(made.convolve(made.neuron(x), 4), 2, 1)
    output = made.mean(made.convolve(made.neuron(made.concat(large, large)), 4))
    return s2f_deploy.lower_content(made.model((3, 6, 6), output), "moving", "float32")


def run_once(graph: Graph, shape: tuple[int, ...]) -> None:
    """Look at it and simulate it."""
    inspect_graph(graph)
    x = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    for value in Simulator(graph, threads=1).run(x).outputs.values():
        assert np.isfinite(value).all()


@pytest.fixture(params=["still", "moving"])
def good(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, tuple[int, ...]]:
    """An undamaged artefact, and the shape of what its network takes."""
    graph: Graph = request.getfixturevalue(request.param)
    path = tmp_path_factory.mktemp("good") / "good.s2f"
    s2f_deploy.save(graph, path)
    return path, next(graph.select("input")).output.array_shape


def test_artefacts(
    good: tuple[Path, tuple[int, ...]], survive: Callable[..., tuple[int, int]]
) -> None:
    """Whatever loads can be inspected and simulated."""
    path, shape = good
    run_once(s2f_deploy.load(path), shape)
    draw = torn(path.read_bytes(), graph_txt=8, params_safetensors=4)
    refused, run = survive(
        "x.s2f", draw, lambda path: run_once(s2f_deploy.load(path), shape), 2 * MUTANTS
    )
    assert min(refused, run) > 0


def test_networks_inside_artefacts(
    good: tuple[Path, tuple[int, ...]], survive: Callable[..., tuple[int, int]]
) -> None:
    """The float network is compared with, or refused."""
    path, shape = good
    x = np.zeros((1, *shape), np.float32)
    draw = torn(path.read_bytes(), reference_onnx=9, deployed_onnx=9)
    refused, _ = survive(
        "x.s2f", draw, lambda path: verify(s2f_deploy.load(path), [x], threads=1), MUTANTS // 2
    )
    assert refused > 0


def test_commands(
    survive: Callable[..., tuple[int, int]],
    integer_artefact: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """What a user types: one message and status 1, or a report."""
    folder = tmp_path_factory.mktemp("output")
    pixels = np.random.default_rng(1).integers(0, 256, (40, 48, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    (folder / "out").mkdir()
    typed = (
        ("inspect",),
        ("simulate", str(folder / "photo.png"), "--threads", "1", "--out", str(folder / "out")),
    )
    codes: list[int] = []

    def use(path: Path) -> None:
        for command, *arguments in typed:
            result = CliRunner().invoke(s2f, [command, str(path), *arguments])
            if not isinstance(result.exception, SystemExit | None):
                raise result.exception
            assert result.exit_code in (0, 1), result.output
            assert ("fix:" in result.output) == (result.exit_code == 1)
            assert "\x1b" not in result.output
            codes.append(result.exit_code)

    # A first run compiles kernels, which takes longer than any file may.
    use(integer_artefact)
    draw = torn(
        integer_artefact.read_bytes(),
        graph_txt=3,
        params_safetensors=2,
        meta_json=8,
        calibration_npy=2,
    )
    survive("x.s2f", draw, use, math.ceil(MUTANTS / 10))
    assert set(codes) == {0, 1}
    assert {path.name for path in folder.iterdir()} == {"photo.png", "out"}
    assert {path.name for path in (folder / "out").iterdir()} <= {
        "photo.s2f.png",
        "photo.spikes.png",
        "photo.boxes.json",
    }
