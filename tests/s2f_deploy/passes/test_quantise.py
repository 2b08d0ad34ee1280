"""Weights on grids: how they are chosen, what calibration adds, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import s2f_deploy
from s2f_deploy import Graph
from s2f_deploy.errors import InputError
from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.ir import dyadic
from s2f_deploy.passes.pipeline import INTEGER_PASSES, Arithmetic, run_passes
from s2f_deploy.passes.quantise import WeightFormat, quantise

Array = NDArray[Any]


@pytest.fixture(scope="module")
def trained(tiny_graph: Graph) -> Graph:
    """The tiny network at INTEGER level, weights as trained."""
    return run_passes(import_onnx(tiny_graph.reference, "tiny"), INTEGER_PASSES)


@pytest.mark.parametrize("bits", [8, 16])
def test_every_weight_is_the_nearest_on_its_grid(trained: Graph, bits: int) -> None:
    quantised = quantise(trained, WeightFormat(bits))
    limit = 2 ** (bits - 1) - 1
    for layer in quantised.metadata["quantisation"]["layers"]:
        node = quantised.node(layer["layer"])
        want, got = trained.arrays(trained.node(node.name))[0], quantised.arrays(node)[0]
        rows = dyadic.row_exponents(got)
        whole = dyadic.units(got, rows)
        assert np.abs(whole).max() <= limit
        unit = np.ldexp(1.0, layer["exponents"][1])
        assert np.abs(want - got).max() <= unit / 2
        assert layer["cut"] == 0
        assert layer["own_error"] is layer["total_error"] is None


def test_calibration_lowers_the_error_of_the_counts(trained: Graph, images: Array) -> None:
    """Biases take up mean errors: on the calibration images more counts stay as they were."""
    report = quantise(trained, WeightFormat(8), images).metadata["quantisation"]
    assert (report["weights"], report["calibration_images"]) == ("int8", 3)
    neurons = sum(n.output.channels * n.output.positions for n in trained.select("integer_fire"))
    assert report["neurons"] == 3 * neurons
    assert 0 < report["counts_changed"] < report["neurons"] / 3
    for layer in report["layers"]:
        assert 0 < layer["own_error"] < 0.1
        assert layer["own_error"] <= 1.5 * layer["total_error"]
    finer = quantise(trained, WeightFormat(16), images).metadata["quantisation"]
    assert finer["counts_changed"] < report["counts_changed"]


def test_biases_take_up_the_mean_error(trained: Graph, images: Array) -> None:
    """Of the first layer, by hand: no channel's currents are off by more than the bias's unit."""
    from s2f_deploy.ops import OPS  # noqa: PLC0415

    quantised = quantise(trained, WeightFormat(8), images)
    conv = next(trained.select("conv2d"))
    entry = next(quantised.select("input"))
    unit = 2.0 ** entry["exponent"]
    digitised = [np.rint(x.astype(float) / unit) * unit for x in images]
    dense = OPS["conv2d"].dense
    errors = [
        dense(conv, [got], quantised.arrays(quantised.node(conv.name)))
        - dense(conv, [x.astype(float)], trained.arrays(conv))
        for x, got in zip(images, digitised, strict=True)
    ]
    mean = np.mean([e.reshape(len(e), -1).mean(1) for e in errors], axis=0)
    weight = quantised.arrays(quantised.node(conv.name))[0]
    assert (np.abs(mean) <= np.ldexp(unit, dyadic.row_exponents(weight))).all()
    assert np.abs(errors).max() > np.abs(mean).max()


def test_the_image_keeps_its_largest_pixel(trained: Graph, images: Array) -> None:
    entry = next(quantise(trained, WeightFormat(8), 100 * images).select("input"))
    assert np.ldexp(entry["high"], entry["exponent"]) >= 100 * np.abs(images).max()
    assert np.ldexp(entry["high"], entry["exponent"] - 1) < 100 * np.abs(images).max()


def test_overrides_name_layers_by_pattern(tiny_graph: Graph) -> None:
    layers: list[tuple[str, Arithmetic]] = [("block*", "int16"), ("block3.0.mlp*", "int8")]
    graph = s2f_deploy.lower_content(tiny_graph.reference, "tiny", "int8", layers=layers)
    for node in graph.select("event_conv2d", "event_linear"):
        wide = node.name.startswith("block") and not node.name.startswith("block3.0.mlp")
        assert graph.arrays(node)[0].dtype == (np.int16 if wide else np.int8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x[:0], "calibration images are"),
        (lambda x: x[:, :, :16], "calibration images are"),
    ],
)
def test_images_that_do_not_fit_are_refused(
    trained: Graph, images: Array, change: Callable[[Array], Array], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        quantise(trained, WeightFormat(8), change(images))


def test_arithmetics_that_do_not_exist_are_refused(tiny_graph: Graph) -> None:
    for arithmetic, layers in (("int4", ()), ("int8", (("head", "int4"),))):
        with pytest.raises(ValueError, match="int4"):
            s2f_deploy.lower_content(tiny_graph.reference, "t", arithmetic, layers=layers)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="float32 weights"):
        s2f_deploy.lower_content(tiny_graph.reference, "t", layers=[("head", "int8")])
