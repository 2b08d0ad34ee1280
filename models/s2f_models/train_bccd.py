"""The recipe of the bundled detector: a small SpikeYOLO trained on blood cell pictures (BCCD).

    python -m s2f_models.train_bccd --archive bccd.zip --out spike_yolo_bccd.pth

Saved after every epoch; ``--resume`` goes on from there as if it had never stopped. What is
saved under ``model`` are averaged weights; the last step rounds them to float16 values, which
halves the space they take in a compressed artefact, and measures what that model reaches. Needs
pycocotools.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from s2f_models.averaged_training import AveragedTraining, Plan, round_to_half
from s2f_models.bccd import (
    CLASSES,
    HEIGHT,
    WIDTH,
    Picture,
    batches,
    collate,
    fitted,
    read_archive,
)
from s2f_models.depthwise_gradient import use_fast_depthwise_gradient
from s2f_models.detection_head import Detect
from s2f_models.detection_loss import detection_loss
from s2f_models.detection_score import Boxes, detections, mean_average_precision
from s2f_models.registry import create
from s2f_models.spike_yolo import SpikeYolo
from s2f_models.task_aligned_assigner import Objects

Batch = tuple[Tensor, Objects]

ARCH = "spike_yolo_bccd"
PREPROCESSING = {
    "kind": "letterbox",
    "height": HEIGHT,
    "width": WIDTH,
    "interpolation": "bilinear",
}
LARGEST_GRADIENT_NORM = 10.0
CALIBRATION_IMAGES = 2
# In a picture, about.
OBJECTS = 13
# Of the classes in their order: rare ones, with few anchors each, would hardly be heard.
CLASS_WEIGHTS = (1.0, 2.0, 8.0)
# The averaged weights remember about a thousand steps, fewer in the beginning.
AVERAGE_DECAY, AVERAGE_WARM_UP = 0.999, 300
WARM_UP, LEAST_RATE = 0.05, 0.01


def measure(model: SpikeYolo, pictures: list[Picture]) -> tuple[float, float]:
    """MAP at an overlap of 0.5, and over all overlaps, in evaluation mode and float32."""
    model.eval()
    shown = [fitted(picture) for picture in pictures]
    found: list[Boxes] = []
    with torch.inference_mode():
        for first in range(0, len(shown), 8):
            images, _ = collate(shown[first : first + 8])
            found.extend(detections(prediction) for prediction in model(images))
    truth = [Boxes(p.boxes, p.labels, torch.ones(len(p.labels))) for p in shown]
    return mean_average_precision(found, truth)


def parse_arguments() -> argparse.Namespace:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-3, help="largest learning rate")
    parser.add_argument("--decay", type=float, default=0.02, help="weight decay")
    parser.add_argument("--pictures", type=int, help="train and measure on the first few alone")
    parser.add_argument("--measure-every", type=int, default=10, help="epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


class Training(AveragedTraining[SpikeYolo]):
    """Model, averaged model, optimiser and schedule of one run of the recipe."""

    def __init__(self, args: argparse.Namespace, pictures: list[Picture]) -> None:
        self.args, self.pictures = args, pictures
        self.steps_per_epoch = len(pictures) // int(args.batch)
        plan = Plan(
            out=args.out,
            epochs=args.epochs,
            steps_per_epoch=self.steps_per_epoch,
            rate=args.rate,
            warm_up=WARM_UP,
            least=LEAST_RATE,
            largest_norm=LARGEST_GRADIENT_NORM,
            average_decay=AVERAGE_DECAY,
            average_warm_up=AVERAGE_WARM_UP,
        )
        super().__init__(plan, self._create(), self._create())
        head = self.model.model[-1]
        assert isinstance(head, Detect)
        head.expect(OBJECTS, HEIGHT * WIDTH)
        use_fast_depthwise_gradient(self.model)
        learned = [p for p in self.model.parameters() if p.requires_grad]
        kernels = (p for p in learned if p.ndim > 1)
        self.optimise(kernels, (p for p in learned if p.ndim <= 1), args.decay)

    @staticmethod
    def _create() -> SpikeYolo:
        model = create(ARCH)
        assert isinstance(model, SpikeYolo)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def train_epoch(self, epoch: int) -> float:
        """One pass over the training pictures; returns the mean loss."""
        # A generator per epoch, so that a resumed run sees what an unbroken one would.
        generator = torch.Generator().manual_seed(self.args.seed * 10_000 + epoch)
        self.model.train()
        losses: list[float] = []
        steps = batches(self.pictures, self.args.batch, generator)
        for images, objects in self._shown(steps, f"epoch {epoch + 1} of {self.args.epochs}"):
            x = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                maps = self.model.maps(x)
            loss = detection_loss(maps, objects, torch.tensor(CLASS_WEIGHTS)).total
            self.descend(loss)
            losses.append(loss.item())
        return sum(losses) / max(len(losses), 1)

    def _shown(self, steps: Iterable[Batch], title: str) -> Iterator[Batch]:
        console = Console(stderr=True)
        yield from track(steps, title, total=self.steps_per_epoch, console=console, transient=True)

    def calibration(self) -> Tensor:
        """A few pictures as they lie in files, uint8[N, H, W, 3]."""
        count = min(CALIBRATION_IMAGES, len(self.pictures))
        chosen = [self.pictures[i * len(self.pictures) // count] for i in range(count)]
        return torch.stack([fitted(p).pixels for p in chosen]).permute(0, 2, 3, 1).contiguous()

    def save(self, epoch: int) -> None:
        """Replace the checkpoint in one step; the last one is for deployment only."""
        described = {
            "arch": ARCH,
            "D": self.average.config.levels,
            "classes": list(CLASSES),
            "preprocessing": PREPROCESSING,
            "calibration": self.calibration(),
        }
        self.write(epoch, described)


def main() -> None:
    """Train, save after every epoch, and print one line of JSON per epoch."""
    args = parse_arguments()
    torch.manual_seed(args.seed)
    # Vanishing gradients of silent neurons are denormal numbers, which are slow.
    torch.set_flush_denormal(True)
    pictures = read_archive(args.archive, "trainval")[: args.pictures]
    tested = pictures if args.pictures else read_archive(args.archive, "test")
    training = Training(args, pictures)
    start = training.resume() if args.resume and args.out.exists() else 0
    for epoch in range(start, args.epochs):
        began = time.perf_counter()
        report: dict[str, Any] = {"epoch": epoch, "loss": round(training.train_epoch(epoch), 4)}
        report["seconds"] = round(time.perf_counter() - began, 1)
        last = epoch == args.epochs - 1
        if last:
            round_to_half(training.average)
        if last or (epoch + 1) % args.measure_every == 0:
            half, strict = measure(training.average, tested)
            report |= {"map50": round(half, 4), "map50_95": round(strict, 4)}
        print(json.dumps(report), flush=True)  # noqa: T201 (a script's own progress)
        training.save(epoch)


if __name__ == "__main__":
    main()
