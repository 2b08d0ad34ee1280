"""The commands on a checkpoint of the official segmentation code: a class for every pixel."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from labelled_sets import write_label_map
from PIL import Image
from spike2former_golden import TINY, let_fire

import s2f_deploy
from s2f_cli.main import s2f

Invoke = Callable[..., Result]
CLASSES = ["sky", "road", "car"]
PALETTE = [[70, 130, 180], [128, 64, 128], [0, 0, 142]]
# Another class than the data set's is dead.
CONFIG = replace(TINY, depths=(1, 0), decoder_layers=1, num_heads=8, num_classes=4)


def write_checkpoint(folder: Path) -> Path:
    """As MMEngine writes it, from a network without training that answers several classes."""
    torch.manual_seed(9)
    network = CONFIG.build()
    let_fire(network, seed=9)
    head = network.decode_head
    torch.nn.init.normal_(head.query_feat.weight, 0, 2)
    for weights in (head.cls_embed, head.mask_embed.fc_out, head.pixel_decoder.mask_feature):
        torch.nn.init.normal_(weights.weight)
    head.pixel_decoder.mask_feature.bias = torch.nn.Parameter(torch.zeros(CONFIG.channels))
    meta = {
        "mmengine_version": "0.8.4",
        "dataset_meta": {"classes": tuple(CLASSES), "palette": PALETTE},
    }
    torch.save({"state_dict": network.state_dict(), "meta": meta}, folder / "best.pth")
    return folder / "best.pth"


def write_picture(path: Path) -> Path:
    """Noise, of another shape than the network's input."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((100, 60)).save(path)
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported from the command line, once: tracing 65 neurons takes a quarter of a minute."""
    folder = tmp_path_factory.mktemp("segmentation")
    checkpoint, artefact = write_checkpoint(folder), folder / "best8.s2f"
    arguments = ["export", checkpoint, "--levels", 4, "--size", "32x48", "-o", artefact]
    result = CliRunner().invoke(s2f, [str(a) for a in (*arguments, "--weights", "int8")])
    assert result.exit_code == 0, result.output
    assert "input 3x32x48" in result.output
    assert "rounded to 8 fraction bits" in result.output
    return artefact


@pytest.fixture(scope="module")
def floats(network: Path) -> Path:
    """The same with weights as trained, lowered from the artefact."""
    artefact = network.with_name("best.s2f")
    result = CliRunner().invoke(s2f, ["export", str(network), "-o", str(artefact)])
    assert result.exit_code == 0, result.output
    return artefact


def test_the_artefact_says_what_it_is(network: Path) -> None:
    metadata = s2f_deploy.load(network).metadata
    assert metadata["task"] == "segmentation"
    assert metadata["classes"] == CLASSES
    assert metadata["palette"] == PALETTE
    assert metadata["preprocessing"] == {
        "kind": "fitted",
        "height": 32,
        "width": 48,
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
    }


def test_it_is_verified(invoke: Invoke, network: Path, floats: Path, tmp_path: Path) -> None:
    picture = write_picture(tmp_path / "street.png")
    result = invoke("verify", network, picture)
    assert result.exit_code == 0, result.output
    assert "EQUIVALENT: every count and every bit of the output" in result.output
    result = invoke("verify", floats, picture)
    assert result.exit_code == 0, result.output
    assert "EQUIVALENT: 0 unexplained mismatches" in result.output


def run(invoke: Invoke, *arguments: object) -> dict[str, Any]:
    result = invoke("simulate", *arguments, "--json", "run.json")
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(Path("run.json").read_text())
    return document


def test_regions_are_drawn_and_counted(invoke: Invoke, network: Path, tmp_path: Path) -> None:
    document = run(invoke, network, write_picture(tmp_path / "street.png"))
    assert document["size"] == [100, 60]
    with Image.open(tmp_path / "street.labels.png") as drawn:
        labels = np.asarray(drawn)
        assert drawn.mode == "P"
        assert (drawn.getpalette() or [])[:9] == [byte for colour in PALETTE for byte in colour]
    assert labels.shape == (60, 100)
    assert labels.max() < len(CLASSES)
    counted = {r["class"]: (r["label"], r["pixels"]) for r in document["regions"]}
    assert counted == {
        int(i): (CLASSES[i], int((labels == i).sum())) for i in np.unique(labels).tolist()
    }
    assert len(counted) > 1
    with Image.open(tmp_path / "street.s2f.png") as drawn:
        assert min(drawn.size) > 300
    # What spikes cannot do is on the host alone, and its products are counted.
    host = [layer for layer in document["layers"] if layer["kind"] == "host"]
    # Masks between their pixels, and classes times masks.
    products = 4 * 5 * 32 * 48 + 5 * 3 * 32 * 48
    assert [layer["mac"] for layer in host] == [products]
    assert document["total"]["host_mac"] == products
    synapses = {layer["name"]: layer["ac"] for layer in document["layers"]}
    assert synapses["decode_head.cls_embed"] > 0


def test_it_is_evaluated(invoke: Invoke, network: Path, tmp_path: Path) -> None:
    truths = {}
    for name in "ab":
        picture = write_picture(tmp_path / "images" / f"{name}.png")
        run(invoke, network, picture)
        with Image.open(tmp_path / f"{name}.labels.png") as drawn:
            labels = np.asarray(drawn).copy()
        # Wrong in a corner, not asked in another.
        labels[:10, :10] = (labels[:10, :10] + 1) % 3
        labels[-5:, -5:] = 255
        write_label_map(tmp_path / "truth" / f"{name}.png", labels)
        truths[name] = labels
    options = ("--dataset", "truth", "--images", "images", "--json", "e.json")
    result = invoke("eval", network, *options, "--log", "log")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "e.json").read_text())
    assert report["pixels"] == 2 * (6000 - 25)
    assert report["pixel_accuracy"] == 1 - 100 / (6000 - 25)
    for tally in report["classes"]:
        wanted = sum(int((truth == tally["class"]).sum()) for truth in truths.values())
        assert tally["pixels"] == wanted
        union = tally["pixels"] + tally["answered"] - tally["right"]
        assert tally["iou"] == tally["right"] / union
    assert f"mIoU {report['miou']:.2%}" in result.output
    # All is in the log.
    again = invoke("eval", network, *options, "--log", "log")
    assert "2 of 2 samples were finished already" in again.output
    assert json.loads((tmp_path / "e.json").read_text())["classes"] == report["classes"]
    shrunk = Image.fromarray(truths["a"]).resize((10, 6), Image.Resampling.NEAREST)
    shrunk.save(tmp_path / "truth" / "a.png")
    result = invoke("eval", network, *options, "--log", "other")
    assert result.exit_code == 1
    assert "10x6 pixels, its picture 100x60" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "40"), "multiples of 16"),
        (("--size", "32x40"), "multiples of 16"),
        (("--offset-bits", "17"), "17"),
        (("--steps", "2"), "only repeat the image"),
    ],
)
def test_impossible_wishes_are_refused(
    invoke: Invoke, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = invoke("export", write_checkpoint(tmp_path), "--levels", "4", *options)
    assert result.exit_code in (1, 2)
    assert message in result.output


def test_a_palette_that_is_none_is_one_error(invoke: Invoke, network: Path, tmp_path: Path) -> None:
    graph = s2f_deploy.load(network)
    metadata = {**graph.metadata, "palette": [[0, 0, 0], [0, 0, 999], "red"]}
    s2f_deploy.save(replace(graph, metadata=metadata), tmp_path / "bad.s2f")
    result = invoke("simulate", "bad.s2f", write_picture(tmp_path / "a.png"))
    assert result.exit_code == 1
    assert "the palette is no list of 3 colours" in result.output


def test_label_maps_are_for_segmentation(invoke: Invoke, tiny_artefact: Path) -> None:
    result = invoke("eval", "-m", tiny_artefact, "--dataset", ".", "--ignore", "0")
    assert result.exit_code == 2
    assert "label maps of segmentation" in result.output


def test_the_bundled_network_reads_the_digits_of_its_photograph(invoke: Invoke) -> None:
    document = run(invoke, "-m", "photo_digits", "--no-pictures")
    assert {r["label"] for r in document["regions"]} == {"background", "0", "3"}
    # The photograph, the channels that are read again in another shape, and the host.
    multiplying = {layer["kind"] for layer in document["layers"] if layer["mac"]}
    assert "synapse" not in multiplying
    assert "attention" not in multiplying
    result = invoke("verify", "-m", "photo_digits")
    assert result.exit_code == 0, result.output
    assert "EQUIVALENT: every count and every bit of the output" in result.output
