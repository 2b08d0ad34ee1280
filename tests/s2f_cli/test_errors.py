"""Every mistake is one message that says what, where and how to mend it, and leaves nothing."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from networks import NetworkBuilder

import s2f_deploy
from s2f_deploy import Graph

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


@pytest.mark.parametrize("names", [["ant"], [1, 2, 3], "ant", {"0": "ant"}, 5])
def test_class_names_that_do_not_fit_the_outputs(
    invoke: Invoke, tiny_graph: Graph, names: object, tmp_path: Path
) -> None:
    odd = replace(tiny_graph, metadata={**tiny_graph.metadata, "classes": names})
    s2f_deploy.save(odd, tmp_path / "odd.s2f")
    assert_one_error(invoke("simulate", "--no-pictures"), "3 texts", "odd.s2f")


@pytest.mark.parametrize("content", ['["ant", "bee"]', "[1, 2, 3]", "[" * 100_000, "[]"])
def test_a_file_of_class_names_that_does_not_fit(
    invoke: Invoke, tiny_onnx: Path, content: str, tmp_path: Path
) -> None:
    (tmp_path / "names.json").write_text(content)
    assert_one_error(invoke("export", tiny_onnx, "--classes", "names.json"), "names.json")
    assert [path.name for path in tmp_path.iterdir()] == ["names.json"]


def test_class_names_that_look_like_markup_are_printed_as_they_are(
    invoke: Invoke, tiny_graph: Graph, tmp_path: Path
) -> None:
    names = ["[/red]ant", "[bold]bee", "[link=x]crow"]
    odd = replace(tiny_graph, metadata={**tiny_graph.metadata, "classes": names})
    s2f_deploy.save(odd, tmp_path / "odd.s2f")
    result = invoke("simulate", "--no-pictures", "--json", "r.json")
    assert result.exit_code == 0, result.output
    assert all(name in result.output for name in names)
    labels = {p["label"] for p in json.loads((tmp_path / "r.json").read_text())["prediction"]}
    assert labels == set(names)


def test_a_crop_larger_than_the_resized_image(
    invoke: Invoke, tiny_onnx: Path, tmp_path: Path
) -> None:
    assert_one_error(invoke("export", tiny_onnx, "--resize", 16), "--resize", "crop of 32")
    assert not list(tmp_path.iterdir())


def test_an_onnx_file_does_not_ignore_options_in_silence(invoke: Invoke, tiny_onnx: Path) -> None:
    assert invoke("export", tiny_onnx, "--levels", 8).exit_code == 2
