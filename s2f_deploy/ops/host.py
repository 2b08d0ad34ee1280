"""The host tail: an ONNX subgraph behind the last synapse, run by ONNX Runtime."""

from typing import Any

from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op, same_as_declared


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Run the subgraph in float32; the batch axis exists only inside it."""
    import onnxruntime  # noqa: PLC0415 (half a second that most graphs never need)

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(params[0].tobytes(), options)
    feeds = {
        wanted.name: value[None].astype("float32").reshape(wanted.shape)
        for wanted, value in zip(session.get_inputs(), inputs, strict=True)
    }
    (result,) = session.run(None, feeds)
    batchless: NDArray[Any] = result.reshape(node.output.shape)
    return batchless


HOST = Op("host", EVERY_LEVEL, same_as_declared, dense)
