"""Spikes times currents: two synapses one after the other, as matrices are associative."""

import numpy as np
import onnx

from s2f_deploy.frontend.importer import Importer, unsupported
from s2f_deploy.frontend.views import View
from s2f_deploy.ir.graph import Node

TOKENS_RANK = 3  # batch, rows, columns


def read_spikes_times_currents(
    importer: Importer, node: onnx.NodeProto, spikes: View, currents: View
) -> View:
    """``E @ (V s + v)`` with counts E[1, Q, C] and currents [1, C, P] of a 1x1 convolution of s.

    Becomes ``(E V) s + E v``: every spike of E adds a row of V to what is held for its query, every
    spike of s adds a column of that to the sums of its position.

    Source: ``spike2former.md`` section 13.2.
    """
    projection = importer.nodes[currents.node]
    if (
        len(spikes.shape) != TOKENS_RANK
        or not importer.reads_spikes(node)
        or not currents.in_order
        or not _is_projection_of_spikes(importer, projection)
    ):
        raise unsupported(
            node,
            "multiplies two computed tensors that are no attention, nor spikes with the currents "
            "of a 1x1 convolution of spikes",
            "write attention as (q @ k.transpose) @ v or q @ (k.transpose @ v) on [1, heads, N, d]",
        )
    by_channel = importer.laid_out(node, spikes.rearranged(spikes.index.transpose(0, 2, 1)))
    weight, bias = (importer.params[name] for name in projection.params)
    # [I + 1, C]: what a spike of E adds to each channel of s, and to the constant part.
    columns = np.concatenate([weight.reshape(len(weight), -1).T, bias.reshape(1, -1)])
    held = importer.emit(
        node,
        "conv2d",
        (by_channel,),
        {"weight": columns[:, :, None, None], "bias": np.zeros(len(columns), weight.dtype)},
        stride=(1, 1),
        padding=(0, 0, 0, 0),
        groups=1,
    )
    made = importer.emit(node, "product", (held.node, projection.inputs[0]), {})
    return made.reshaped(lambda a: a.reshape(1, spikes.shape[1], -1))


def _is_projection_of_spikes(importer: Importer, projection: Node) -> bool:
    if projection.op != "conv2d":
        return False
    source = importer.nodes[projection.inputs[0]]
    weight, bias = (importer.params[name] for name in projection.params)
    plain = projection["groups"] == 1 and not any(projection["padding"]) and bias.ndim == 1
    alone = weight.shape[2:] == (1, 1) and set(projection["stride"]) == {1}
    return plain and alone and source.op == "integer_fire"
