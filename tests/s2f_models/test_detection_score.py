import numpy as np
import pytest
import torch
from spike_yolo_golden import fill, read_record, recorded_input

from s2f_models import SpikeYolo, create

pytest.importorskip("pycocotools")

from s2f_models.detection_score import Boxes, detections, mean_average_precision


def boxes(*listed: tuple[float, float, float, float, int, float]) -> Boxes:
    rows = torch.tensor(listed).reshape(-1, 6)
    return Boxes(rows[:, :4], rows[:, 4].long(), rows[:, 5])


A, B = (10.0, 10.0, 50.0, 50.0), (100.0, 100.0, 140.0, 160.0)


def test_detections_are_the_official_ones() -> None:
    record = read_record("coco_n_128x96_T1")
    with torch.device("meta"):
        model = create(record["arch"])
    assert isinstance(model, SpikeYolo)
    fill(model, record["gain"])
    with torch.inference_mode():
        found = detections(model(recorded_input(record))[0, :, ::4])
    rows = torch.cat((found.corners, found.scores[:, None], found.labels[:, None].double()), 1)
    np.testing.assert_allclose(rows.numpy(), record["det_val"], rtol=0, atol=1e-6)


def test_nothing_above_the_threshold_is_nothing() -> None:
    assert len(detections(torch.zeros(7, 20)).labels) == 0


def test_perfect_detections_score_one() -> None:
    truth = [boxes((*A, 0, 1), (*B, 1, 1)), boxes((*B, 0, 1))]
    assert mean_average_precision(truth, truth) == (1.0, 1.0)


def test_missed_class_scores_zero() -> None:
    truth = [boxes((*A, 0, 1), (*B, 1, 1))]
    assert mean_average_precision([boxes((*A, 0, 0.9))], truth) == pytest.approx((0.5, 0.5))


def test_better_wrong_detection_halves_the_precision() -> None:
    truth = [boxes((*A, 0, 1))]
    found = [boxes((*B, 0, 0.9), (*A, 0, 0.5))]
    assert mean_average_precision(found, truth) == pytest.approx((0.5, 0.5))


def test_rough_box_counts_at_half_overlap_only() -> None:
    # 40 of 60 columns are shared: an overlap of two thirds, past 0.5, 0.55, 0.6 and 0.65.
    found = [boxes((10, 10, 70, 50, 0, 0.9))]
    assert mean_average_precision(found, [boxes((*A, 0, 1))]) == pytest.approx((1.0, 0.4))


def test_no_detections_score_zero() -> None:
    assert mean_average_precision([boxes()], [boxes((*A, 0, 1))]) == (0.0, 0.0)
