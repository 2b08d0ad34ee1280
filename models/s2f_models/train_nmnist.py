"""The recipe of the bundled event classifier: digits seen by an event camera (N-MNIST).

    python -m s2f_models.train_nmnist --archive nmnist_small_1100.zip --out event_nmnist.pth

Saved after every epoch; ``--resume`` goes on from there as if it had never stopped. What is
saved under ``model`` are averaged weights; the last step rounds them to float16 values, which
halves the space they take in a compressed artefact, and measures what that model reaches.
``--held-out 200`` measures on so many training recordings, which are left out of training:
whoever changes the recipe compares by them, and not by the test recordings.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from s2f_models.event_classifier import EventClassifier
from s2f_models.nmnist import CLASSES, SIDE, Recording, batches, frames, read_archive
from s2f_models.registry import create
from s2f_models.train_cifar10 import round_to_half

ARCH = "event_classifier_nmnist"
LARGEST_GRADIENT_NORM = 2.0
# The averaged weights remember some hundred steps, fewer in the beginning.
AVERAGE_DECAY, AVERAGE_WARM_UP = 0.995, 100
WARM_UP = 0.1


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
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=4e-3, help="largest learning rate")
    parser.add_argument("--decay", type=float, default=0.05, help="weight decay")
    parser.add_argument("--smoothing", type=float, default=0.05, help="label smoothing")
    parser.add_argument("--measure-every", type=int, default=10, help="epochs")
    parser.add_argument(
        "--held-out", type=int, default=0, help="training recordings to measure on instead"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


class Training:
    """Model, averaged model, optimiser and schedule of one run of the recipe."""

    def __init__(self, args: argparse.Namespace, recordings: list[Recording]) -> None:
        self.args, self.recordings = args, recordings
        self.steps_per_epoch = len(recordings) // int(args.batch)
        self.model, self.average = self._create(), self._create()
        self.average.load_state_dict(self.model.state_dict())
        self.steps = 0
        kernels = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [
            {"params": kernels, "weight_decay": args.decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=args.rate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)

    @staticmethod
    def _create() -> EventClassifier:
        model = create(ARCH)
        assert isinstance(model, EventClassifier)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _rate(self, step: int) -> float:
        """Factor of the learning rate: a ramp, then half a cosine down to a thousandth."""
        done: float = step / max(self.args.epochs * self.steps_per_epoch, 1)
        if done < WARM_UP:
            return done / WARM_UP
        falling = (done - WARM_UP) / (1 - WARM_UP)
        return 0.001 + 0.999 * (1 + math.cos(math.pi * falling)) / 2

    def train_epoch(self, epoch: int) -> float:
        """One pass over the training recordings; returns the mean loss."""
        # A generator per epoch, so that a resumed run sees what an unbroken one would.
        generator = torch.Generator().manual_seed(self.args.seed * 10_000 + epoch)
        self.model.train()
        most = (self.model.config.timesteps, self.model.config.levels)
        total = 0.0
        for x, y in batches(self.recordings, self.args.batch, most, generator):
            with torch.autocast("cpu", torch.bfloat16):
                logits = self.model(x)
            loss = F.cross_entropy(logits.float(), y, label_smoothing=self.args.smoothing)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT_NORM)
            self.optimizer.step()
            self.schedule.step()
            self._add_to_average()
            total += float(loss.detach())
        return total / max(self.steps_per_epoch, 1)

    def _add_to_average(self) -> None:
        self.steps += 1
        decay = AVERAGE_DECAY * (1 - math.exp(-self.steps / AVERAGE_WARM_UP))
        with torch.no_grad():
            current = self.model.state_dict()
            for name, tensor in self.average.state_dict().items():
                if tensor.is_floating_point():
                    tensor.lerp_(current[name], 1 - decay)
                else:
                    tensor.copy_(current[name])

    def save(self, epoch: int) -> None:
        """Replace the checkpoint in one step; the last one is for deployment only."""
        config = self.average.config
        state: dict[str, Any] = {
            "model": self.average.state_dict(),
            "epoch": epoch,
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
            state |= {
                "latent": self.model.state_dict(),
                "steps": self.steps,
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
            }
        partial = self.args.out.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.args.out)

    def resume(self) -> int:
        """Go on from the saved state; returns the first epoch that is still to do."""
        saved: dict[str, Any] = torch.load(self.args.out)
        self.average.load_state_dict(saved["model"])
        if "latent" not in saved:
            return int(self.args.epochs)
        self.model.load_state_dict(saved["latent"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.steps = int(saved["steps"])
        return int(saved["epoch"]) + 1


def main() -> None:
    """Train, save after every epoch, and print one line of JSON per epoch."""
    args = parse_arguments()
    torch.manual_seed(args.seed)
    # Vanishing gradients of silent neurons are denormal numbers, which are slow.
    torch.set_flush_denormal(True)
    recordings = read_archive(args.archive, "train")
    if args.held_out:
        recordings, measured = recordings[: -args.held_out], recordings[-args.held_out :]
    else:
        measured = read_archive(args.archive, "test")
    training = Training(args, recordings)
    start = training.resume() if args.resume and args.out.exists() else 0
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
