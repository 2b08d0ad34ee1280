"""Lower trained spiking networks to event-driven graphs."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from s2f_deploy.errors import S2FError as S2FError
from s2f_deploy.ir.graph import Graph as Graph
from s2f_deploy.ir.graph import Node as Node
from s2f_deploy.ir.graph import TensorType as TensorType
from s2f_deploy.ir.storage import load as load
from s2f_deploy.ir.storage import save as save

if TYPE_CHECKING:
    from s2f_deploy.passes.pipeline import lower as lower
    from s2f_deploy.passes.pipeline import lower_content as lower_content


def export_onnx(
    model: Any, input_shape: tuple[int, ...], path: str | os.PathLike[str], output: str = "logits"
) -> None:
    """Write a ``torch.nn.Module`` as ONNX: see ``frontend.export_torch.export_onnx``."""
    # Simulating needs no torch, and torch takes seconds to import.
    from s2f_deploy.frontend import export_torch  # noqa: PLC0415

    export_torch.export_onnx(model, input_shape, path, output)


def __getattr__(name: str) -> Any:
    # Simulating needs no ONNX, and ONNX takes a fifth of a second to import.
    if name in ("lower", "lower_content"):
        return getattr(import_module("s2f_deploy.passes.pipeline"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
