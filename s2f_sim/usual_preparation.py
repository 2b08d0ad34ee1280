"""How a network is fed where nobody has said it: by its task and the shape of its input."""

from collections.abc import Sequence

from s2f_deploy.errors import InputError
from s2f_sim.answer import CLASSIFICATION, DETECTION, SEGMENTATION
from s2f_sim.camera_frames import GEN1_WINDOW_US
from s2f_sim.centre_crop import CentreCrop
from s2f_sim.entries import COLOURS
from s2f_sim.event_frames import COUNTS, POLARITY, EventFrames
from s2f_sim.fitted_picture import FittedPicture
from s2f_sim.preparation import Preparation
from s2f_sim.whole_picture import WholePicture

_POLARITIES = 2
_PLANE = 2
_TASKS = {2: DETECTION, 3: SEGMENTATION}


def usual_task(output: Sequence[int]) -> str:
    """What a network does whose output has this shape, without the batch.

    >>> usual_task((84, 8400)), usual_task((150, 512, 512)), usual_task((1000,))
    ('detection', 'segmentation', 'classification')
    """
    return _TASKS.get(len(output), CLASSIFICATION)


def usual_preparation(task: str, shape: Sequence[int], steps: int, *, where: str) -> Preparation:
    """The published code's way.

    Args:
        task: one of ``TASKS``.
        shape: channels, height, width of the input at one real timestep.
        steps: real timesteps of the input; 1 of a picture.
        where: what errors cite.

    Raises:
        InputError: nobody feeds networks of such an input.
    """
    if len(shape) != 1 + _PLANE or shape[0] not in (COLOURS, _POLARITIES):
        raise InputError(
            f"nothing is known about inputs of shape {list(shape)}",
            where=where,
            fix="run the network from Python: s2f_deploy.lower, s2f_sim.simulate",
        )
    channels, height, width = shape
    if channels == _POLARITIES:
        return EventFrames(COUNTS, steps, None, (width, height))
    if steps > 1:
        return EventFrames(POLARITY, steps, GEN1_WINDOW_US, (width, height))
    if task == DETECTION:
        return WholePicture(height, width)
    if task == SEGMENTATION:
        return FittedPicture.imagenet(height, width)
    return CentreCrop.imagenet(width)
