"""A neuron that remembers, in plain float operators: its recurrence, written out."""

import numpy as np
from onnx import TensorProto

from s2f_deploy.backend.onnx_writer import Array, OnnxWriter, per_channel
from s2f_deploy.ir.graph import Node
from s2f_deploy.ops.neuron import leak_shift


def remembering(out: OnnxWriter, node: Node, scale: Array) -> None:
    """Append u[t] = (u[t-1] − n[t-1]) · 2**-s + x[t] in double precision, where it is exact.

    Timesteps lie on the first axis. Its counts are a float32 tensor of the neuron's name.

    Args:
        out: the model under construction.
        node: an integer_fire with a leak.
        scale: float64[C] or [1], powers of two, of the current.
    """
    name, steps = node.name, node.output.steps
    current = out.cast(node.inputs[0], wide=True)
    if (scale != 1).any():
        factor = out.constant(f"{name}.scale", per_channel(scale, node.output), np.float64)
        current = out.op("Mul", [current, factor], f"{name}.scaled", wide=True)
    leak = out.number(f"{name}.leak", 2.0 ** -leak_shift(node), wide=True)
    now = out.split(current, [f"{name}.{t}.current" for t in range(steps)])
    membranes = [now[0]]
    for t in range(1, steps):
        at = f"{name}.{t - 1}"
        left = out.op(
            "Sub", [membranes[-1], _counts(out, node, membranes[-1], at)], f"{at}.left", wide=True
        )
        carried = out.op("Mul", [left, leak], f"{at}.carried", wide=True)
        membranes.append(out.op("Add", [carried, now[t]], f"{name}.{t}.membrane", wide=True))
    whole = out.op("Concat", membranes, f"{name}.membrane", wide=True, axis=0)
    out.op("Cast", [_counts(out, node, whole, name)], name, to=TensorProto.FLOAT)


def _counts(out: OnnxWriter, node: Node, membrane: str, stem: str) -> str:
    """Clipped and rounded, halves as the neuron's rule says."""
    low = out.number(f"{stem}.low", 0, wide=True)
    high = out.number(f"{stem}.high", node["levels"], wide=True)
    counts = out.op("Clip", [membrane, low, high], f"{stem}.clipped", wide=True)
    if node["rounding"] == "half_even":
        return out.op("Round", [counts], f"{stem}.counts", wide=True)
    half = out.number(f"{stem}.half", 0.5, wide=True)
    raised = out.op("Add", [counts, half], f"{stem}.raised", wide=True)
    return out.op("Floor", [raised], f"{stem}.counts", wide=True)
