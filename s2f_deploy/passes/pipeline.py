"""Which passes run, in which order, for which arithmetic."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.backend.float_onnx import float_onnx
from s2f_deploy.frontend.import_onnx import import_onnx, read_model
from s2f_deploy.ir.graph import Graph
from s2f_deploy.ir.verify import verify
from s2f_deploy.passes.compose_wiring import compose_wiring
from s2f_deploy.passes.decompose import decompose
from s2f_deploy.passes.fold_affines import fold_affines
from s2f_deploy.passes.fold_norms import fold_norms
from s2f_deploy.passes.fold_pads import fold_pads
from s2f_deploy.passes.merge_convolutions import Chains, merge_convolutions
from s2f_deploy.passes.place_neurons import place_neurons
from s2f_deploy.passes.precompute import precompute
from s2f_deploy.passes.quantise import WeightFormat, quantise
from s2f_deploy.passes.repeat_late import repeat_late
from s2f_deploy.passes.rounded_interpolation import rounded_interpolation
from s2f_deploy.passes.rounded_offsets import rounded_offsets
from s2f_deploy.passes.to_events import to_events, to_integer
from s2f_deploy.passes.to_fixed_point import to_fixed_point

Pass = Callable[[Graph], Graph]
Arithmetic = Literal["float32", "int16", "int8"]
WEIGHT_BITS = {"int16": 16, "int8": 8}

FOLDING_PASSES: Sequence[Pass] = (
    place_neurons,
    compose_wiring,
    repeat_late,
    decompose,
    fold_norms,
    fold_affines,
    fold_pads,
)
INTEGER_PASSES: Sequence[Pass] = (*FOLDING_PASSES, merge_convolutions, to_integer)
EVENT_PASSES: Sequence[Pass] = (*INTEGER_PASSES, to_events)


def integer_passes(*, keep_chains: Chains) -> Sequence[Pass]:
    """As ``INTEGER_PASSES``, or with some chains of convolutions left as they are."""
    return (*FOLDING_PASSES, partial(merge_convolutions, kept=keep_chains), to_integer)


def run_passes(graph: Graph, passes: Sequence[Pass]) -> Graph:
    """Apply passes in order, checking after each what its level allows."""
    for apply in passes:
        graph = apply(graph)
        verify(graph)
    return graph


def float_network(content: bytes, name: str) -> Graph:
    """The FLOAT graph of an ONNX model, its neurons where lowering lets them fire.

    Raises:
        ArtefactError: the bytes are no valid ONNX model.
        UnsupportedPatternError: an operator has no place in a spiking network.
    """
    return compose_wiring(place_neurons(import_onnx(content, name)))


def lower(
    path: str | os.PathLike[str],
    arithmetic: Arithmetic = "float32",
    *,
    calibration: NDArray[np.float32] | None = None,
    layers: Sequence[tuple[str, Arithmetic]] = (),
    keep_chains: Chains = "none",
) -> Graph:
    """The EVENT graph of an ONNX file.

    Args:
        path: of the ONNX file.
        arithmetic: float32 as trained, or integer weights of 16 or 8 bits.
        calibration: float32[B, C, H, W], images as the network takes them, on which integer
            weights are chosen; None to choose by the weights alone.
        layers: patterns of layer names whose weights have another width than the others'.
        keep_chains: which convolutions without a neuron between them are left as they are, with
            fewer weights: ``"all"``, ``"separable"`` (chains that begin with a depthwise one) or
            ``"none"``. All but the first of a chain then multiply real values, which is counted as
            such. Every other chain becomes one kernel that spikes alone drive.

    Raises:
        ArtefactError: the file is missing or no ONNX model.
        UnsupportedPatternError: a node has no place in an event-driven graph; it is named.
        InputError: a pattern names no layer, or the calibration images do not fit the network.
        ValueError: an arithmetic that does not exist, or mixes floats with integers; chains of
            another kind.
    """
    content = read_model(path)
    name = "".join(Path(path).stem.split()) or "network"
    return lower_content(
        content, name, arithmetic, calibration=calibration, layers=layers, keep_chains=keep_chains
    )


def lower_content(
    content: bytes,
    name: str,
    arithmetic: Arithmetic = "float32",
    *,
    calibration: NDArray[Any] | None = None,
    layers: Sequence[tuple[str, Arithmetic]] = (),
    keep_chains: Chains = "none",
) -> Graph:
    """The EVENT graph of an ONNX model in memory; see ``lower``."""
    wanted = [kind for _, kind in layers] + ([] if arithmetic == "float32" else [arithmetic])
    unknown = [kind for kind in wanted if kind not in WEIGHT_BITS]
    if arithmetic not in ("float32", *WEIGHT_BITS) or unknown:
        wrong = (*unknown, arithmetic)[0]
        raise ValueError(f"arithmetic {wrong!r} is not {', '.join(WEIGHT_BITS)}")
    if keep_chains not in get_args(Chains):
        raise ValueError(f"chains {keep_chains!r} are not {', '.join(get_args(Chains))}")
    graph = import_onnx(content, name)
    folding = integer_passes(keep_chains=keep_chains)
    lowest = partial(to_events, keep_chains=keep_chains)
    if arithmetic == "float32":
        if layers:
            raise ValueError("layers of float32 weights cannot have integer ones among them")
        return run_passes(graph, (*folding, lowest))
    overrides = tuple((pattern, WEIGHT_BITS[kind]) for pattern, kind in layers)
    weights = WeightFormat(WEIGHT_BITS[arithmetic], overrides)
    folded = run_passes(graph, (*folding, rounded_offsets, rounded_interpolation))
    quantised = quantise(folded, weights, calibration)
    verify(quantised)
    fixed = run_passes(quantised, (to_fixed_point,))
    deployed = float_onnx(quantised, fixed)
    return replace(run_passes(fixed, (lowest, precompute)), deployed=deployed)
