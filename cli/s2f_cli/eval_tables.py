"""What ``s2f eval`` prints of a score."""

from s2f_cli.report import Report
from s2f_sim.evaluation_score import ClassificationScore, DetectionScore
from s2f_sim.segmentation_score import SegmentationScore

Score = ClassificationScore | DetectionScore | SegmentationScore


def print_score(report: Report, score: Score) -> None:
    """The table of the classes, and the score of all."""
    if isinstance(score, DetectionScore):
        _print_boxes(report, score)
        return
    if isinstance(score, SegmentationScore):
        _print_pixels(report, score)
        return
    rows = [
        [t.label, f"{t.samples:,}", f"{t.right:,}", f"{t.right / t.samples:.1%}"]
        for t in score.classes
    ]
    report.table({"class": "left", "samples": "right", "right": "right", "share": "right"}, rows)
    top5 = "" if score.top5 is None else f", top-5 {score.top5:.2%}"
    report.line(f"top-1 {score.top1:.2%}{top5}")


def _print_boxes(report: Report, score: DetectionScore) -> None:
    rows = [
        [
            t.label,
            f"{t.objects:,}",
            f"{t.found:,}",
            f"{t.wrong:,}",
            "" if t.ap50 is None else f"{t.ap50:.2%}",
            "" if t.ap50_95 is None else f"{t.ap50_95:.2%}",
        ]
        for t in score.classes
    ]
    report.table(
        {
            "class": "left",
            "objects": "right",
            "found": "right",
            "wrong": "right",
            "AP50": "right",
            "AP50-95": "right",
        },
        rows,
    )
    report.line(
        f"mAP50 {score.map50:.2%}, mAP50-95 {score.map50_95:.2%}; found and wrong: of boxes with a "
        "score above 0.25, at an overlap of 0.5"
    )


def _print_pixels(report: Report, score: SegmentationScore) -> None:
    rows = [
        [t.label, f"{t.pixels:,}", f"{t.answered:,}", f"{t.right:,}", f"{t.iou:.2%}"]
        for t in score.classes
    ]
    report.table(
        {"class": "left", "pixels": "right", "answered": "right", "right": "right", "IoU": "right"},
        rows,
    )
    report.line(
        f"mIoU {score.miou:.2%}, pixel accuracy {score.pixel_accuracy:.2%}, of {score.pixels:,} "
        "annotated pixels"
    )


def print_work(report: Report, work: dict[str, float]) -> None:
    """What the simulation did for a sample, if it was one."""
    if work:
        host = f" and {work['host_mac']:,.0f} on the host" if work["host_mac"] else ""
        report.line(
            f"per sample: {work['spikes']:,.0f} spikes, {work['ac']:,.0f} accumulations (AC), "
            f"{work['mac']:,.0f} multiplications (MAC){host}; the dense network multiplies "
            f"{work['dense_mac']:,.0f} times"
        )
