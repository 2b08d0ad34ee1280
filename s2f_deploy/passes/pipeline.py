"""Which passes run, in which order."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from s2f_deploy.frontend.import_onnx import import_onnx, read_model
from s2f_deploy.ir.graph import Graph
from s2f_deploy.ir.verify import verify
from s2f_deploy.passes.decompose import decompose
from s2f_deploy.passes.fold_affines import fold_affines
from s2f_deploy.passes.fold_norms import fold_norms
from s2f_deploy.passes.merge_convolutions import merge_convolutions
from s2f_deploy.passes.to_events import to_events, to_integer

Pass = Callable[[Graph], Graph]
Arithmetic = Literal["float32"]

INTEGER_PASSES: Sequence[Pass] = (
    decompose,
    fold_norms,
    fold_affines,
    merge_convolutions,
    to_integer,
)
EVENT_PASSES: Sequence[Pass] = (*INTEGER_PASSES, to_events)


def run_passes(graph: Graph, passes: Sequence[Pass]) -> Graph:
    """Apply passes in order, checking after each what its level allows."""
    for apply in passes:
        graph = apply(graph)
        verify(graph)
    return graph


def lower(path: str | os.PathLike[str], arithmetic: Arithmetic = "float32") -> Graph:
    """The EVENT graph of an ONNX file.

    Raises:
        ArtefactError: the file is missing or no ONNX model.
        UnsupportedPatternError: a node has no place in an event-driven graph; it is named.
        ValueError: an arithmetic that does not exist.
    """
    if arithmetic != "float32":
        raise ValueError(f"arithmetic {arithmetic!r} is not float32")
    content = read_model(path)
    graph = import_onnx(content, "".join(Path(path).stem.split()) or "network")
    return run_passes(graph, EVENT_PASSES)
