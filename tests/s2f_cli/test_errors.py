"""Every mistake is one message that says what, where and how to mend it, and leaves nothing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from networks import NetworkBuilder

Invoke = Callable[..., Result]


def assert_one_error(result: Result, *parts: str) -> None:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.output.count("Error: ") == 1
    for part in ("at:", "fix:", *parts):
        assert part in result.output
    assert "Traceback" not in result.output


class Hostile:
    """A pickle that runs a command when it is read."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def test_a_pickle_that_runs_a_command_is_refused_and_runs_nothing(
    invoke: Invoke, tmp_path: Path
) -> None:
    torch.save({"model": Hostile(f"touch {tmp_path}/ran")}, tmp_path / "evil.pth")
    assert_one_error(invoke("export", "evil.pth"), "system")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pth"]


def test_a_truncated_checkpoint(
    invoke: Invoke, tiny_model: torch.nn.Module, tmp_path: Path
) -> None:
    torch.save(tiny_model.state_dict(), tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "whole.pth").write_bytes(content[: len(content) // 2])
    assert_one_error(invoke("export", "whole.pth"), "whole.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.pth"]


def test_a_state_dict_with_one_wrong_shape(
    invoke: Invoke, tiny_model: torch.nn.Module, tmp_path: Path
) -> None:
    weights = dict(tiny_model.state_dict())
    weights["block3.0.attn.q_conv.0.weight"] = torch.zeros(8, 9, 1, 1)
    torch.save(weights, tmp_path / "wrong.pth")
    assert_one_error(invoke("export", "wrong.pth"), "block3.0.attn.q_conv.0.weight")
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.pth"]


def test_a_png_that_is_none(invoke: Invoke, tiny_artefact: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_text("no picture")
    assert_one_error(invoke("simulate", "photo.png", "-m", tiny_artefact), "photo.png")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_graph_with_an_unsupported_operator(invoke: Invoke, tmp_path: Path) -> None:
    made = NetworkBuilder(np.random.default_rng(0), 4, 4.0, "half_even")
    made.shapes["image"] = (3, 32, 32)
    bent = made.add("Sigmoid", [made.conv("image", 4, 3, 1, 1, 1)], (4, 32, 32))
    output = made.conv(made.neuron(bent), 2, 1, 1, 0, 1)
    (tmp_path / "net.onnx").write_bytes(made.model((3, 32, 32), output))
    assert_one_error(invoke("export", "net.onnx"), "Sigmoid nt1")
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "absent.pth"),
        ("simulate", "absent.png"),
        ("simulate", "-m", "absent.s2f"),
        ("energy", "--profile", "absent"),
        ("export", "absent.onnx"),
        ("export", "names.txt", "--classes", "absent.txt"),
    ],
)
def test_a_missing_file(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    assert_one_error(invoke(*arguments), "absent")


def test_several_artefacts_to_choose_from(
    invoke: Invoke, tiny_artefact: Path, tmp_path: Path
) -> None:
    for name in ("a.s2f", "b.s2f"):
        shutil.copy(tiny_artefact, tmp_path / name)
    assert_one_error(invoke("simulate"), "a.s2f, b.s2f", "--model")


def test_a_report_that_cannot_be_written(invoke: Invoke, tiny_artefact: Path) -> None:
    assert_one_error(
        invoke("simulate", "-m", tiny_artefact, "--no-pictures", "--json", "absent/r.json"),
        "absent/r.json",
    )


def test_pictures_that_cannot_be_written(invoke: Invoke, tiny_artefact: Path) -> None:
    assert_one_error(invoke("simulate", "-m", tiny_artefact, "--out", "absent"), "absent")


@pytest.mark.parametrize("arguments", [("simulate", "-k", "0"), ("nonsense",), ("export",)])
def test_wrong_usage_ends_with_status_2(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    assert invoke(*arguments).exit_code == 2
