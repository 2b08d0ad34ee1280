"""ONNX Runtime on a network whose inner tensors are to be read out."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
from numpy.typing import NDArray

from s2f_deploy.errors import ArtefactError


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Turn whatever a damaged network makes ONNX Runtime raise into one error."""
    try:
        yield
    except Exception as error:
        raise ArtefactError(
            f"ONNX Runtime cannot run the stored network: {str(error)[:200]}",
            where=name,
            fix="if memory is not short, the artefact is damaged: export the network again",
        ) from error


class TensorReader:
    """Runs an ONNX model and returns any of its tensors.

    Args:
        model: is changed: the tensors become outputs.
        tensors: to be returned beside the model's own outputs.
        threads: within one operator; ONNX Runtime's own default if None.
        fused: whether ONNX Runtime may rewrite the model before it runs it.

    Raises:
        ArtefactError: ONNX Runtime refuses the model.
    """

    def __init__(
        self, model: onnx.ModelProto, tensors: Iterable[str], threads: int | None, *, fused: bool
    ) -> None:
        import onnxruntime  # noqa: PLC0415 (half a second that most commands never need)

        declared = {info.name for info in model.graph.output}
        for tensor in dict.fromkeys(tensors):
            if tensor not in declared:
                model.graph.output.append(onnx.ValueInfoProto(name=tensor))
        options = onnxruntime.SessionOptions()
        # It raises what it would log.
        options.log_severity_level = 4
        options.intra_op_num_threads = threads or 0
        # Its own pool of memory would keep, to the end, what no later operator can use.
        options.enable_cpu_mem_arena = False
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = (
            levels.ORT_ENABLE_ALL if fused else levels.ORT_DISABLE_ALL
        )
        with _refusing(model.graph.name):
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,
            )
            (image,) = self._session.get_inputs()
        self._input, self._name = image.name, model.graph.name
        self.version: str = onnxruntime.__version__

    def read(self, sample: NDArray[Any], tensors: list[str]) -> list[NDArray[Any]]:
        """The tensors for one sample, float32[C, H, W] or float32[T, C, H, W].

        Without their batch axis, which several real timesteps share: those stay.

        Raises:
            ArtefactError: ONNX Runtime cannot compute them.
        """
        with _refusing(self._name):
            results = self._session.run(tensors, {self._input: sample[None]})
        return [value[0] if len(value) == 1 else value for value in results]
