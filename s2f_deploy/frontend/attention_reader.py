"""Two matrix products of computed tensors: together, one attention."""

from dataclasses import replace

import numpy as np
import onnx

from s2f_deploy.frontend.importer import Importer, unsupported
from s2f_deploy.frontend.product_reader import read_spikes_times_currents
from s2f_deploy.frontend.views import Product, Value, View

HEADS_RANK = 4  # batch, heads, rows, columns


def read_product(importer: Importer, node: onnx.NodeProto) -> Value:
    """``q kᵀ`` or ``kᵀ v`` is kept back; the product with the third operand is the attention."""
    left, right = (importer.values[name] for name in node.input)
    match left, right:
        case View(), View() if len(left.shape) < HEADS_RANK:
            return read_spikes_times_currents(importer, node, left, right)
        case View(), View():
            return _first_product(importer, node, left, right)
        case Product(association="qk_v"), View():
            first, operands = left, (*left.operands, right)
            last = right
        case View(), Product(association="q_kv"):
            first, operands = right, (left, *right.operands)
            last = left
        case _:
            raise _no_attention(node)
    if _shown(importer, last, first.heads) != "tokens":
        raise _no_attention(node)
    return _attention(importer, node, operands, first)


def _first_product(importer: Importer, node: onnx.NodeProto, left: View, right: View) -> Product:
    if len(left.shape) != HEADS_RANK or len(right.shape) != HEADS_RANK:
        raise _no_attention(node)
    heads = left.shape[1]
    match _shown(importer, left, heads), _shown(importer, right, heads):
        case "tokens", "channels":
            association = "qk_v"
        case "channels", "tokens":
            association = "q_kv"
        case _:
            raise _no_attention(node)
    return Product((left, right), association, heads, 1.0)


def _shown(importer: Importer, view: View, heads: int) -> str:
    output = importer.nodes[view.node].output
    return view.heads(output.channels, output.positions, heads)[0]


def _operand(importer: Importer, node: onnx.NodeProto, view: View, heads: int) -> str:
    """The node an operand shows, turned if its tokens lie in rows."""
    output = importer.nodes[view.node].output
    shown, turned = view.heads(output.channels, output.positions, heads)
    if not turned:
        return view.node
    index = view.index.transpose(0, 1, 3, 2) if shown == "tokens" else view.index
    by_channel = index.reshape(1, -1, index.shape[-1])
    return importer.laid_out(node, view.rearranged(by_channel))


def _attention(
    importer: Importer, node: onnx.NodeProto, operands: tuple[View, View, View], first: Product
) -> View:
    query, key, value = (_operand(importer, node, view, first.heads) for view in operands)
    made = importer.emit(
        node,
        "attention",
        (query, key, value),
        {},
        heads=first.heads,
        association=first.association,
    )
    width = importer.nodes[value].output.channels // first.heads
    by_channel = made.index.reshape(1, first.heads, width, -1)
    tokens = by_channel.transpose(0, 1, 3, 2)
    shown = made.rearranged(tokens)
    if first.scale == 1:
        return shown
    scale = {"scale": np.array([first.scale]), "shift": np.zeros(1)}
    return replace(shown, node=importer.emit(node, "affine", (made.node,), scale).node)


def _no_attention(node: onnx.NodeProto) -> Exception:
    return unsupported(
        node,
        "multiplies two computed tensors that are not queries, keys and values of attention",
        "write attention as (q @ k.transpose) @ v or q @ (k.transpose @ v) on [1, heads, N, d]",
    )
