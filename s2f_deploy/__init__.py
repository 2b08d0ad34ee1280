"""Lower trained spiking networks to event-driven graphs."""

import os
from typing import Any

from s2f_deploy.errors import S2FError as S2FError
from s2f_deploy.ir.graph import Graph as Graph
from s2f_deploy.ir.graph import Node as Node
from s2f_deploy.ir.graph import TensorType as TensorType
from s2f_deploy.ir.storage import load as load
from s2f_deploy.ir.storage import save as save
from s2f_deploy.passes.pipeline import lower as lower
from s2f_deploy.passes.pipeline import lower_content as lower_content


def export_onnx(model: Any, input_shape: tuple[int, ...], path: str | os.PathLike[str]) -> None:
    """Write a ``torch.nn.Module`` as ONNX: see ``frontend.export_torch.export_onnx``."""
    # Simulating needs no torch, and torch takes seconds to import.
    from s2f_deploy.frontend import export_torch  # noqa: PLC0415

    export_torch.export_onnx(model, input_shape, path)
