"""Evaluating a network on a labelled data set, one sample at a time, into a log.

What the log keeps of a sample is all that the score needs, so a run that was stopped and went on
ends with the same score as one that was not.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from s2f_deploy.errors import InputError
from s2f_sim.answer import DETECTION, SEGMENTATION
from s2f_sim.camera_events import Events
from s2f_sim.camera_files import read_events
from s2f_sim.evaluated_network import EvaluatedNetwork, Response
from s2f_sim.event_frames import EventFrames
from s2f_sim.label_map import LabelMap
from s2f_sim.labelled_data import LabelledData
from s2f_sim.labelled_sample import LabelledSample
from s2f_sim.preparation import Preparation, write_preparation
from s2f_sim.progress_log import ProgressLog
from s2f_sim.sample import Sample
from s2f_sim.segmentation_score import confusion
from s2f_sim.suppression import VALIDATION, suppress

BEST = 5
_BOX_ROWS = 4
# Digits behind the point of a pixel, as COCO result files have them.
_PIXEL_DIGITS = 3

Progress = Callable[[int, int], None]


def binding_of(
    network: EvaluatedNetwork, data: LabelledData, preparation: Preparation, task: str
) -> dict[str, Any]:
    """What a log is bound to: the network, the data set and how samples are prepared.

    Which part of the data set is evaluated is left out: a larger part goes on from a smaller one.
    """
    return {
        **network.binding,
        "task": task,
        "preparation": write_preparation(preparation),
        "dataset": data.digest,
    }


def evaluate(
    data: LabelledData,
    preparation: Preparation,
    network: EvaluatedNetwork,
    task: str,
    log: ProgressLog,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Run every sample that is not in the log yet; the results of all, in the order of the data.

    Args:
        data: the samples.
        preparation: how their files become what the network takes.
        network: what answers them.
        task: what its output is taken for.
        log: bound to all of these, see ``binding_of``.
        progress: called as ``progress(done, total)`` with numbers of samples of this run.

    Returns:
        Of classification ``best``: class and logit of the best five, best first. Of detection
        ``size``: width and height of the source, and ``boxes``: left, top, right, bottom in its
        pixels, score, class, best first. Of segmentation ``confusion``: annotated class, answered
        class, pixels. With all ``work`` and ``seconds``.

    Raises:
        InputError: a file cannot be read, or the output makes no sense; results before it stay.
    """
    samples = {sample.key: sample for sample in data.samples}
    total = len(samples.keys() - log.results.keys())
    files, done = _Files(preparation), 0

    def run(key: str) -> dict[str, Any]:
        nonlocal done
        sample = files.read(samples[key])
        response = network.run(sample.x)
        if not np.isfinite(response.output).all():
            raise _senseless("the network's output is not finite", sample)
        found = _answered(task, response, sample, samples[key])
        done += 1
        if progress is not None:
            progress(done, total)
        return found | {"work": dict(response.work), "seconds": round(response.seconds, 6)}

    return list(log.run(samples, run).values())


class _Files:
    """Reads samples; several moments of one recording read it once."""

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation
        self._recording: tuple[Any, Events] | None = None

    def read(self, sample: LabelledSample) -> Sample:
        if sample.at_us is None or not isinstance(self._preparation, EventFrames):
            return self._preparation.read(sample.path, sample.at_us)
        if self._recording is None or self._recording[0] != sample.path:
            # Two recordings at a time could be more than the memory holds.
            self._recording = None
            self._recording = sample.path, read_events(sample.path)
        return self._preparation.sample(sample.path, self._recording[1], sample.at_us)


def _answered(
    task: str, response: Response, sample: Sample, asked: LabelledSample
) -> dict[str, Any]:
    if task == DETECTION:
        return _found(response, sample)
    if task == SEGMENTATION:
        assert isinstance(asked.target, LabelMap)
        return _confused(response, sample, asked.target)
    return _best(response)


def _best(response: Response) -> dict[str, Any]:
    logits = response.output.reshape(-1)
    best = np.argsort(-logits.astype(np.float64), kind="stable")[:BEST]
    return {"best": [[int(i), _short(logits[i])] for i in best]}


def _found(response: Response, sample: Sample) -> dict[str, Any]:
    if sample.letterbox is None or response.output.ndim != 2:  # noqa: PLR2004 (rows, anchors)
        raise _senseless(
            f"an output of {list(response.output.shape)} holds no boxes in a picture", sample
        )
    rows = suppress(response.output, VALIDATION)
    boxes = sample.letterbox.to_picture(rows[:, :_BOX_ROWS]).round(_PIXEL_DIGITS)
    height, width = sample.letterbox.picture
    return {
        "size": [width, height],
        "boxes": [
            [*box.tolist(), _short(row[_BOX_ROWS]), int(row[_BOX_ROWS + 1])]
            for box, row in zip(boxes, rows, strict=True)
        ],
    }


def _confused(response: Response, sample: Sample, target: LabelMap) -> dict[str, Any]:
    if sample.fit is None or response.output.ndim != 3:  # noqa: PLR2004 (classes, rows, columns)
        raise _senseless(
            f"an output of {list(response.output.shape)} holds no scores of pixels", sample
        )
    classes = len(response.output)
    truth, picture = target.read(classes), sample.fit.picture
    if truth.shape != picture:
        raise InputError(
            f"the annotation has {truth.shape[1]}x{truth.shape[0]} pixels, its picture "
            f"{picture[1]}x{picture[0]}",
            where=str(target.path),
            fix="annotate the picture in its own size",
        )
    return {"confusion": confusion(truth, sample.fit.labels(response.output), classes)}


def _short(value: np.float32) -> float:
    """The shortest number that is this one in float32."""
    return float(str(np.float32(value)))


def _senseless(what: str, sample: Sample) -> InputError:
    return InputError(
        what, where=str(sample.path), fix="check the network's weights, task and preprocessing"
    )


def mean_work(results: list[dict[str, Any]]) -> dict[str, float]:
    """Means per sample of what was counted; empty where nothing was simulated."""
    names = list(results[0]["work"])
    return {name: sum(result["work"][name] for result in results) / len(results) for name in names}
