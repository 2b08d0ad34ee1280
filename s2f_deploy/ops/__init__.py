"""Every operation of the IR, and how they meet real time."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ops.attention import ATTENTION
from s2f_deploy.ops.bilinear_upsample import BILINEAR_UPSAMPLE
from s2f_deploy.ops.boundary import INPUT, OUTPUT
from s2f_deploy.ops.concat import CONCAT
from s2f_deploy.ops.constant import CONSTANT
from s2f_deploy.ops.conv2d import CONV2D, EVENT_CONV2D
from s2f_deploy.ops.deformable_sample import DEFORMABLE_SAMPLE
from s2f_deploy.ops.elementwise import ADD, AFFINE, BATCH_NORM
from s2f_deploy.ops.fixed_point import ALIGN, DIGITISE, READ_OUT
from s2f_deploy.ops.host import HOST
from s2f_deploy.ops.linear import EVENT_LINEAR, LINEAR
from s2f_deploy.ops.max_pool import MAX_POOL
from s2f_deploy.ops.neuron import INTEGER_FIRE, INTEGRATE_FIRE
from s2f_deploy.ops.op import Arrays
from s2f_deploy.ops.op import Op as Op
from s2f_deploy.ops.pad import PAD
from s2f_deploy.ops.pooling import MEAN_POOL, SUM_POOL
from s2f_deploy.ops.product import PRODUCT
from s2f_deploy.ops.reshape import RESHAPE
from s2f_deploy.ops.rewire import REWIRE
from s2f_deploy.ops.time import REPEAT, TIME_MEAN, TIME_SUM
from s2f_deploy.ops.upsample import UPSAMPLE

OPS: dict[str, Op] = {
    op.name: op
    for op in (
        INPUT,
        CONSTANT,
        OUTPUT,
        CONV2D,
        EVENT_CONV2D,
        LINEAR,
        EVENT_LINEAR,
        ATTENTION,
        PRODUCT,
        ADD,
        AFFINE,
        BATCH_NORM,
        MEAN_POOL,
        SUM_POOL,
        MAX_POOL,
        RESHAPE,
        REWIRE,
        CONCAT,
        UPSAMPLE,
        BILINEAR_UPSAMPLE,
        DEFORMABLE_SAMPLE,
        PAD,
        REPEAT,
        TIME_MEAN,
        TIME_SUM,
        DIGITISE,
        ALIGN,
        READ_OUT,
        INTEGER_FIRE,
        INTEGRATE_FIRE,
        HOST,
    )
}


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """Type of the result; operations that know no time have the steps of what they read.

    Raises:
        ShapeMismatchError: operands do not fit, in their steps or anything else.
    """
    op = OPS[node.op]
    if op.couples_time or not inputs:
        return op.infer_type(node, inputs, params)
    steps = {source.steps for source in inputs}
    if len(steps) > 1:
        raise ShapeMismatchError(
            f"{node.name} reads {', '.join(map(str, inputs))} of several numbers of time steps",
            where=node.origin,
            fix="repeat what does not change in time",
        )
    momentary = [replace(source, steps=1) for source in inputs]
    return replace(op.infer_type(node, momentary, params), steps=steps.pop())


def evaluate(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """The dense definition, at every real timestep: arrays of the types' ``array_shape``."""
    op = OPS[node.op]
    if op.couples_time or node.output.steps == 1 or not inputs:
        return op.dense(node, inputs, params)
    momentary = replace(node, output=replace(node.output, steps=1))
    return np.stack([op.dense(momentary, list(now), params) for now in zip(*inputs, strict=True)])
