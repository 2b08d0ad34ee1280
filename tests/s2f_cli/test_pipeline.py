"""Real processes in a row."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from s2f_cli import pipeline
from s2f_cli.bundled import DEFAULT

S2F = f"{sys.executable} -c 'from s2f_cli.main import s2f; s2f()'"


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False
    )


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from s2f_cli.main import s2f\n"
        "assert CliRunner().invoke(s2f, ['--help']).exit_code == 0\n"
        "print(sorted({'numpy', 'torch', 'numba', 'onnx', 'matplotlib'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_reports_pass_through_with_artefact_and_image(tiny_artefact: Path, tmp_path: Path) -> None:
    first = f"{S2F} simulate {DEFAULT.sample} -m {tiny_artefact} -k 4 --no-pictures"
    done = shell(f"{first} | {S2F} energy", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("s2f simulate") < done.stdout.rindex("s2f energy")
    assert done.stdout.count(f"artefact: {tiny_artefact}") == 2
    assert done.stdout.count(f"image: {DEFAULT.sample}") == 2
    assert "dense float network" in done.stdout


def test_a_failure_before_is_told_once_by_each(tmp_path: Path) -> None:
    done = shell(f"{S2F} simulate absent.png | {S2F} energy", tmp_path)
    assert done.returncode == 1
    assert "absent.png" in done.stderr
    assert "gave no artefact" in done.stderr
    assert "Traceback" not in done.stderr


def test_other_input_is_left_alone(tiny_artefact: Path, tmp_path: Path) -> None:
    done = shell(f"echo hello | {S2F} simulate -m {tiny_artefact} --no-pictures", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "hello" not in done.stdout


def test_a_command_that_fails_passes_nothing_on(tiny_artefact: Path, tmp_path: Path) -> None:
    first = f"{S2F} simulate {DEFAULT.sample} -m {tiny_artefact} --no-pictures"
    done = shell(f"{first} | {S2F} simulate absent.png | {S2F} energy", tmp_path)
    assert done.returncode == 1
    assert "gave no artefact" in done.stderr
    assert "dense float network" not in done.stdout


def test_wrong_usage_before_is_no_reason_to_take_the_bundled_network(tmp_path: Path) -> None:
    done = shell(f"{S2F} export net.pth --nonsense | {S2F} simulate --no-pictures", tmp_path)
    assert done.returncode == 1
    assert "gave no artefact" in done.stderr


def test_a_writer_that_stops_in_its_first_line_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(pipeline, "PATIENCE_SECONDS", 0.05)
    with os.fdopen(reading) as stdin, os.fdopen(writing, "w") as writer:
        monkeypatch.setattr(sys, "stdin", stdin)
        writer.write("s2")
        writer.flush()
        assert pipeline.read_upstream(pytest.fail) is None
