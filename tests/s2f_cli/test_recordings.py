"""The commands on a recording of an event camera, with the network that comes for it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

from s2f_cli.bundled import BUNDLED

Invoke = Callable[..., Result]
RECORDING = BUNDLED["event_digits"].sample


def test_the_bundled_classifier_reads_its_recording(invoke: Invoke) -> None:
    result = invoke("simulate", "-m", "event_digits", "--json", "run.json")
    assert result.exit_code == 0, result.output
    document = json.loads(Path("run.json").read_text())
    assert document["prediction"][0]["label"] == "6"
    # From events to answer: nothing multiplies, and it would show in any layer.
    assert [layer["mac"] for layer in document["layers"]] == [0] * len(document["layers"])
    assert document["total"]["ac"] > 0
    for suffix in ("s2f", "events", "spikes"):
        with Image.open(f"digit.{suffix}.png") as drawn:
            assert min(drawn.size) > 300


def test_its_spikes_are_what_onnx_runtime_counts(invoke: Invoke) -> None:
    result = invoke("verify", "-m", "event_digits")
    assert result.exit_code == 0, result.output
    assert "EQUIVALENT: every count and every bit of the output" in result.output


def test_recordings_are_evaluated_from_a_list(invoke: Invoke, tmp_path: Path) -> None:
    shutil.copy(RECORDING, tmp_path / "60012.bs2")
    (tmp_path / "test.csv").write_text("60012.bs2,6\n")
    result = invoke("eval", "-m", "event_digits", "--dataset", tmp_path / "test.csv")
    assert result.exit_code == 0, result.output
    assert "top-1 100.00%" in result.output


@pytest.mark.parametrize("cut", [0, 3])
def test_a_damaged_recording_is_one_error(invoke: Invoke, tmp_path: Path, cut: int) -> None:
    damaged = tmp_path / "cut.bs2"
    damaged.write_bytes(RECORDING.read_bytes()[:cut])
    result = invoke("simulate", "-m", "event_digits", damaged)
    assert result.exit_code == 1
    assert result.output.count("Error:") == 1
    assert str(damaged) in result.output
    assert not list(tmp_path.glob("*.png"))
