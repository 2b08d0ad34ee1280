"""The host tail: an ONNX subgraph behind the last synapse, run by ONNX Runtime."""

from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from s2f_deploy.errors import ArtefactError
from s2f_deploy.ir.graph import Node
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op, same_as_declared


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Run the subgraph in float32; the batch axis exists only inside it.

    Raises:
        ArtefactError: ONNX Runtime refuses it, or it gives something else than the node says.
    """
    try:
        return _run(node, inputs, params)
    # A file made to be hostile picks the exception, so there is no list of them to catch.
    except Exception as error:
        raise ArtefactError(
            f"the host cannot compute {node.name}: {str(error)[:200]}",
            where=node.origin,
            fix="if memory is not short, the artefact is damaged: export the network again",
        ) from error


def _run(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    session = _session(params[0].tobytes())
    feeds = {
        wanted.name: value[None].astype("float32", copy=False).reshape(wanted.shape)
        for wanted, value in zip(session.get_inputs(), inputs, strict=True)
    }
    (result,) = session.run(None, feeds)
    batchless: NDArray[Any] = result.reshape(node.output.shape)
    return batchless


@lru_cache(maxsize=1)
def _session(content: bytes) -> Any:
    """ONNX Runtime on a subgraph; kept with its memory, which takes longer to get than to use."""
    import onnxruntime  # noqa: PLC0415 (half a second that most graphs never need)

    options = onnxruntime.SessionOptions()
    # It raises what it would log.
    options.log_severity_level = 4
    # Its threads would otherwise take the cores from the spikes of the next image.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"], enable_fallback=0
    )


HOST = Op("host", EVERY_LEVEL, same_as_declared, dense)
