"""Every operation of the IR."""

from s2f_deploy.ops.attention import ATTENTION
from s2f_deploy.ops.boundary import INPUT, OUTPUT
from s2f_deploy.ops.conv2d import CONV2D, EVENT_CONV2D
from s2f_deploy.ops.elementwise import ADD, AFFINE, BATCH_NORM
from s2f_deploy.ops.fixed_point import ALIGN, DIGITISE, READ_OUT
from s2f_deploy.ops.host import HOST
from s2f_deploy.ops.linear import EVENT_LINEAR, LINEAR
from s2f_deploy.ops.neuron import INTEGER_FIRE, INTEGRATE_FIRE
from s2f_deploy.ops.op import Op as Op
from s2f_deploy.ops.pooling import MEAN_POOL, SUM_POOL
from s2f_deploy.ops.reshape import RESHAPE

OPS: dict[str, Op] = {
    op.name: op
    for op in (
        INPUT,
        OUTPUT,
        CONV2D,
        EVENT_CONV2D,
        LINEAR,
        EVENT_LINEAR,
        ATTENTION,
        ADD,
        AFFINE,
        BATCH_NORM,
        MEAN_POOL,
        SUM_POOL,
        RESHAPE,
        DIGITISE,
        ALIGN,
        READ_OUT,
        INTEGER_FIRE,
        INTEGRATE_FIRE,
        HOST,
    )
}
