"""``s2f inspect``: the table, the printed graph, the JSON, and what it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import s2f_deploy
from s2f_cli import report
from s2f_cli.bundled import DEFAULT
from s2f_deploy import Graph
from s2f_deploy.ir.text import print_graph

Invoke = Callable[..., Result]
CONV = "ConvBlock1_1.0.Conv.dwconv.0"


@pytest.fixture(scope="module")
def int8_artefact(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "tiny8.s2f"
    s2f_deploy.save(s2f_deploy.lower(tiny_onnx, "int8"), path)
    return path


def row(output: str, layer: str) -> list[str]:
    (line,) = (line for line in output.splitlines() if line.startswith(f"{layer} "))
    return line.split()[1:]


def test_one_row_for_every_layer(invoke: Invoke, int8_artefact: Path, tiny_onnx: Path) -> None:
    result = invoke("inspect", int8_artefact)
    assert result.exit_code == 0, result.output
    graph = s2f_deploy.lower(tiny_onnx, "int8")
    for node in graph.nodes:
        if node.op not in ("input", "output", "reshape"):
            assert row(result.output, node.name)[0] == node.op
    conv = row(result.output, CONV)
    plane = graph.node(CONV).output
    assert conv[1:4] == ["x".join(map(str, plane.shape)), "int8", "int32"]
    assert conv[6] == "depthwise"
    assert conv[8] == f"{4 * plane.channels * plane.positions:,}"
    assert max(len(line.rstrip()) for line in result.output.splitlines()) <= 160


def test_header_and_totals(invoke: Invoke, int8_artefact: Path, tiny_artefact: Path) -> None:
    whole = invoke("inspect", int8_artefact).output
    real = invoke("inspect", tiny_artefact).output
    assert "arithmetic    int8 (" in whole
    assert "quantisation  int8; weights chosen without images" in whole
    assert "arithmetic    float32 (" in real
    assert "quantisation" not in real
    for output in (whole, real):
        assert "D = 4, 41 windows of 4 timesteps" in output
        assert "attentions: 2" in output
    assert whole.rstrip().endswith(f"artefact: {int8_artefact}")


def test_calibration_is_told(invoke: Invoke, tiny_graph: Graph, tmp_path: Path) -> None:
    cost = {
        "weights": "int8",
        "overrides": {"head*": 16},
        "calibration_images": 2,
        "neurons": 200,
        "counts_changed": 31,
        "layers": [{"layer": "head", "cut": 7, "own_error": 0.01}],
    }
    metadata = {**tiny_graph.metadata, "quantisation": cost}
    s2f_deploy.save(replace(tiny_graph, metadata=metadata), tmp_path / "only.s2f")
    expected = "int8; head* int16; 15.50% of the counts changed on 2 images; 7 weights cut off"
    assert expected in invoke("inspect").output


def test_a_narrow_terminal_gets_two_tables(
    invoke: Invoke, int8_artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = invoke("inspect", int8_artefact).output
    monkeypatch.setattr(report, "UNATTENDED_WIDTH", 100)
    narrow = invoke("inspect", int8_artefact).output
    (headings,) = (line.split() for line in wide.splitlines() if line.startswith("layer "))
    first, second = (line.split() for line in narrow.splitlines() if line.startswith("layer "))
    assert first + second[1:] == headings
    told = [line for line in narrow.splitlines() if line.startswith(f"{CONV} ")]
    assert [cell for line in told for cell in line.split()[1:]] == row(wide, CONV)
    tables = narrow[narrow.index("layer ") : narrow.index("other params")]
    assert max(map(len, tables.splitlines())) <= 100


def test_the_printed_graph(invoke: Invoke, tiny_artefact: Path, tiny_graph: Graph) -> None:
    result = invoke("inspect", "-m", tiny_artefact, "--graph")
    assert result.exit_code == 0, result.output
    assert print_graph(tiny_graph) in result.output
    assert "membranes B" not in result.output
    assert "event lists " in result.output


def test_names_are_printed_as_they_are(invoke: Invoke, tiny_graph: Graph, tmp_path: Path) -> None:
    s2f_deploy.save(replace(tiny_graph, name=":cat:[red]"), tmp_path / "only.s2f")
    output = invoke("inspect", "--graph").output
    assert "network       :cat:[red]," in output
    assert "graph :cat:[red] event" in output


def test_weights_that_need_fewer_bits_than_their_type(
    invoke: Invoke, tiny_onnx: Path, tmp_path: Path
) -> None:
    graph = s2f_deploy.lower(tiny_onnx, "int16")
    (name,) = (name for name in graph.params if name == f"{CONV}.weight")
    small = {**graph.params, name: np.sign(graph.params[name]) * np.int16(31)}
    s2f_deploy.save(replace(graph, params=small), tmp_path / "only.s2f")
    result = invoke("inspect")
    assert row(result.output, CONV)[2:4] == ["int16", "(6)"]


@pytest.mark.parametrize("arguments", [(), ("--graph",)])
def test_json(
    invoke: Invoke, int8_artefact: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    result = invoke("inspect", int8_artefact, "--json", "i.json", *arguments)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads((tmp_path / "i.json").read_text())
    assert document["schema"] == "s2f/inspect/1"
    assert document["artefact"] == str(int8_artefact)
    assert (document["arithmetic"], document["levels"], document["windows"]) == ("int8", 4, 41)
    assert document["quantisation"]["calibration_images"] == 0
    layers = {layer["name"]: layer for layer in document["layers"]}
    assert (layers[CONV]["kernel"], layers[CONV]["weight_bits"]) == ("depthwise", 8)
    for key in ("weight_bytes", "membrane_bytes", "synapses"):
        assert document["total"][key] == sum(layer[key] for layer in document["layers"])
    described = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    section = described.partition("## `inspect`")[2].partition("\n## ")[0]
    for key in (*document, *document["quantisation"], *document["total"], *layers[CONV]):
        assert f"`{key}`" in section or key == "schema"


def test_json_on_standard_output(invoke: Invoke, tiny_artefact: Path) -> None:
    result = invoke("inspect", tiny_artefact, "--json", "-")
    assert json.loads(result.stdout)["network"] == "tiny"
    assert "membranes B" in result.stderr


def test_the_default_is_the_bundled_network(invoke: Invoke) -> None:
    result = invoke("inspect")
    assert result.exit_code == 0, result.output
    assert f"network       {s2f_deploy.load(DEFAULT.artefact).name}, input 3x32x32" in result.output


def test_a_missing_file(invoke: Invoke) -> None:
    result = invoke("inspect", "absent.s2f")
    assert result.exit_code == 1
    assert result.output.count("Error: ") == 1
    for part in ("absent.s2f", "at:", "fix:"):
        assert part in result.output


def test_two_artefacts_are_wrong_usage(invoke: Invoke, tiny_artefact: Path) -> None:
    assert invoke("inspect", tiny_artefact, "--model", tiny_artefact).exit_code == 2


def test_it_hands_on_what_a_pipeline_hands_it(tiny_artefact: Path, tmp_path: Path) -> None:
    s2f = f"{sys.executable} -c 'from s2f_cli.main import s2f; s2f()'"
    first = f"{s2f} simulate {DEFAULT.sample} -m {tiny_artefact} --no-pictures"
    done = subprocess.run(
        ["bash", "-c", f"{first} | {s2f} inspect --graph | {s2f} inspect"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"artefact: {tiny_artefact}") == 3
    assert done.stdout.count(f"image: {DEFAULT.sample}") == 3
    assert "network       tiny, input 3x32x32" in done.stdout
