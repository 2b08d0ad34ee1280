"""The recipe of the bundled event classifier: digits seen by an event camera (N-MNIST).

    python -m s2f_models.train_nmnist --archive nmnist_small_1100.zip --digits mnist/ \
        --out event_nmnist.pth

A thousand recordings are few. They are of the first thousand training digits of MNIST (the folder
of ``--digits`` holds that data set's own two files), so an ``EventCamera`` is learned from them
first, and most of what the classifier sees are recordings it makes up from all the other digits.
None of the test digits is among them.

Saved after every epoch; ``--resume`` goes on from there as if it had never stopped. What is
saved under ``model`` are averaged weights; the last step rounds them to float16 values, which
halves the space they take in a compressed artefact, and measures what that model reaches.
``--held-out 200`` measures on so many training recordings, which are left out of training:
whoever changes the recipe compares by them, and not by the test recordings.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from s2f_models.averaged_training import AveragedTraining, Plan, round_to_half
from s2f_models.event_camera import EventCamera
from s2f_models.event_classifier import EventClassifier
from s2f_models.mnist import Digits, framed, read_digits
from s2f_models.nmnist import CLASSES, SIDE, Recording, augmented, frames, read_archive
from s2f_models.registry import create

ARCH = "event_classifier_nmnist"
LARGEST_GRADIENT_NORM = 2.0
# The averaged weights remember some hundred steps, fewer in the beginning.
AVERAGE_DECAY, AVERAGE_WARM_UP = 0.995, 100
WARM_UP, LEAST_RATE = 0.1, 0.001
# Events that the camera is fitted to are not cut at the classifier's largest count.
_MANY = 1_000


def accuracy(model: EventClassifier, recordings: list[Recording]) -> float:
    """Top-1 in evaluation mode, float32."""
    model.eval()
    config = model.config
    hits = 0
    with torch.inference_mode():
        for first in range(0, len(recordings), 50):
            part = recordings[first : first + 50]
            x = torch.stack([frames(r, config.timesteps, config.levels) for r in part])
            hits += int((model(x).argmax(1) == torch.tensor([r.label for r in part])).sum())
    return hits / len(recordings)


def parse_arguments() -> argparse.Namespace:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--digits", type=Path, required=True, help="folder of MNIST's files")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--steps", type=int, default=100, help="batches of an epoch")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--recorded", type=int, default=10, help="real recordings of a batch")
    parser.add_argument("--camera-epochs", type=int, default=40)
    parser.add_argument("--rate", type=float, default=4e-3, help="largest learning rate")
    parser.add_argument("--decay", type=float, default=0.05, help="weight decay")
    parser.add_argument("--smoothing", type=float, default=0.05, help="label smoothing")
    parser.add_argument("--measure-every", type=int, default=5, help="epochs")
    parser.add_argument(
        "--held-out", type=int, default=0, help="training recordings to measure on instead"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


class Training(AveragedTraining[EventClassifier]):
    """Camera, model, averaged model, optimiser and schedule of one run of the recipe.

    Args:
        args: the command line.
        recordings: of the first digits, in their order.
        digits: what may be shown to the camera.
    """

    def __init__(
        self, args: argparse.Namespace, recordings: list[Recording], digits: Digits
    ) -> None:
        self.args, self.recordings, self.digits = args, recordings, digits
        plan = Plan(
            out=args.out,
            epochs=args.epochs,
            steps_per_epoch=args.steps,
            rate=args.rate,
            warm_up=WARM_UP,
            least=LEAST_RATE,
            largest_norm=LARGEST_GRADIENT_NORM,
            average_decay=AVERAGE_DECAY,
            average_warm_up=AVERAGE_WARM_UP,
        )
        super().__init__(plan, self._create(), self._create())
        self.camera = EventCamera(self.model.config.timesteps)
        self.camera.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        parameters = list(self.model.parameters())
        kernels = (p for p in parameters if p.ndim > 1)
        self.optimise(kernels, (p for p in parameters if p.ndim <= 1), args.decay)

    def fit_camera(self) -> float:
        """Learn the camera from the recordings; returns its last loss.

        Raises:
            ValueError: the recordings are not of the first digits.
        """
        labels = torch.tensor([r.label for r in self.recordings])
        if not torch.equal(labels, self.digits.labels[: len(labels)]):
            raise ValueError(
                f"the {len(labels)} recordings are not of the first {len(labels)} digits"
            )
        pictures = framed(self.digits.pictures[: len(labels)], SIDE)
        counts = torch.stack([frames(r, self.camera.timesteps, _MANY) for r in self.recordings])
        generator = torch.Generator().manual_seed(self.args.seed)
        return self.camera.fit(pictures, counts, self.args.camera_epochs, generator)

    @staticmethod
    def _create() -> EventClassifier:
        model = create(ARCH)
        assert isinstance(model, EventClassifier)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Made-up recordings, then real ones: float32[B, T, 2, 34, 34] and int64[B]."""
        config, args = self.model.config, self.args
        digits = torch.randint(len(self.digits), (args.batch - args.recorded,), generator=generator)
        pictures = framed(self.digits.pictures[digits], SIDE)
        made = self.camera.record(pictures, config.levels, generator)
        real = torch.randint(len(self.recordings), (args.recorded,), generator=generator).tolist()
        chosen = [self.recordings[i] for i in real]
        seen = [augmented(r, config.timesteps, config.levels, generator) for r in chosen]
        labels = torch.tensor([r.label for r in chosen])
        return torch.cat((made, torch.stack(seen))), torch.cat((self.digits.labels[digits], labels))

    def train_epoch(self, epoch: int) -> float:
        """So many batches; returns the mean loss."""
        # A generator per epoch, so that a resumed run sees what an unbroken one would.
        generator = torch.Generator().manual_seed(self.args.seed * 10_000 + epoch)
        self.model.train()
        total = 0.0
        for _ in range(self.args.steps):
            x, y = self._batch(generator)
            with torch.autocast("cpu", torch.bfloat16):
                logits = self.model(x)
            loss = F.cross_entropy(logits.float(), y, label_smoothing=self.args.smoothing)
            self.descend(loss)
            total += float(loss.detach())
        return total / int(self.args.steps)

    def save(self, epoch: int) -> None:
        """Replace the checkpoint in one step; the last one is for deployment only."""
        config = self.average.config
        described: dict[str, Any] = {
            "arch": ARCH,
            "D": config.levels,
            "T": config.timesteps,
            "classes": list(CLASSES),
            "preprocessing": {
                "kind": "event_frames",
                "frames": "counts",
                "steps": config.timesteps,
                # The whole recording.
                "window_us": None,
                "sensor": [SIDE, SIDE],
                "largest": config.levels,
            },
        }
        if epoch < self.args.epochs - 1:
            described["camera"] = self.camera.state_dict()
        self.write(epoch, described)

    def restore(self, saved: dict[str, Any]) -> None:
        """As of the others, and the camera."""
        super().restore(saved)
        self.camera.load_state_dict(saved["camera"])


def main() -> None:
    """Train, save after every epoch, and print one line of JSON per epoch."""
    args = parse_arguments()
    torch.manual_seed(args.seed)
    # Vanishing gradients of silent neurons are denormal numbers, which are slow.
    torch.set_flush_denormal(True)
    recordings = read_archive(args.archive, "train")
    digits = read_digits(args.digits, "train")
    if args.held_out:
        left = len(recordings) - args.held_out
        # The digits they were made of are not to be seen either.
        digits = digits.without(left, len(recordings))
        recordings, measured = recordings[:left], recordings[left:]
    else:
        measured = read_archive(args.archive, "test")
    training = Training(args, recordings, digits)
    start = training.resume() if args.resume and args.out.exists() else 0
    if start == 0:
        print(json.dumps({"camera": round(training.fit_camera(), 4)}), flush=True)  # noqa: T201
    for epoch in range(start, args.epochs):
        began = time.perf_counter()
        report: dict[str, Any] = {"epoch": epoch, "loss": round(training.train_epoch(epoch), 4)}
        report["seconds"] = round(time.perf_counter() - began, 1)
        last = epoch == args.epochs - 1
        if last:
            round_to_half(training.average)
        if last or (epoch + 1) % args.measure_every == 0:
            report["accuracy"] = round(accuracy(training.average, measured), 4)
        print(json.dumps(report), flush=True)  # noqa: T201 (a script's own progress)
        training.save(epoch)


if __name__ == "__main__":
    main()
