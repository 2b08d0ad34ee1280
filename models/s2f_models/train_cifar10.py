"""The recipe of the bundled model: a small E-SpikeFormer trained on CIFAR-10.

    python -m s2f_models.train_cifar10 --archive cifar10_jpeg.zip --out e_spikeformer_cifar10.pth

The archive holds ``{train,test}/<class>/<number>.jpg``. Saved after every epoch, in upstream's
container; ``--resume`` goes on from there. The last step rounds the weights to float16 values,
which halves the space they take in a compressed artefact, and measures what that model reaches.
"""

import argparse
import io
import json
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from s2f_models.depthwise_gradient import use_fast_depthwise_gradient
from s2f_models.registry import create

ARCH = "e_spikeformer_cifar10"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
PIXEL_PADDING = 4
PREPROCESSING = {
    "resize": 32,
    "crop": 32,
    "interpolation": "bicubic",
    "mean": list(MEAN),
    "std": list(STD),
}
FULL_PRECISION_EPOCHS = 2
LARGEST_GRADIENT_NORM = 2.0
SMALL_SIDE = 24


def read_archive(archive: Path, split: str) -> tuple[Tensor, Tensor, list[str]]:
    """All images of one split: uint8[N, 3, 32, 32], int64[N] and the class names."""
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    with zipfile.ZipFile(archive) as members:
        names = sorted(name for name in members.namelist() if name.startswith(f"{split}/"))
        classes = sorted({name.split("/")[1] for name in names})
        for name in names:
            with Image.open(io.BytesIO(members.read(name))) as image:
                images.append(np.asarray(image.convert("RGB")))
            labels.append(classes.index(name.split("/")[1]))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.tensor(labels), classes


def normalise(pixels: Tensor) -> Tensor:
    """uint8[N, 3, H, W] -> float32[N, 3, H, W] with the data set's mean and deviation removed."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A random shift of up to four pixels and a random mirror image, per sample."""
    count, _, height, width = pixels.shape
    padded = F.pad(pixels.float(), (PIXEL_PADDING,) * 4, mode="reflect").to(torch.uint8)
    shifts = torch.randint(0, 2 * PIXEL_PADDING + 1, (count, 2), generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5  # noqa: PLR2004 (a fair coin)
    shifted = torch.empty_like(pixels)
    for i, (y, x) in enumerate(shifts.tolist()):
        crop = padded[i, :, y : y + height, x : x + width]
        shifted[i] = crop.flip(2) if mirrored[i] else crop
    return shifted


def batches(
    pixels: Tensor, labels: Tensor, batch: int, side: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of augmented, normalised batches in random order; the incomplete last is left."""
    order = torch.randperm(len(pixels), generator=generator)
    for first in range(0, len(order) - batch + 1, batch):
        chosen = order[first : first + batch]
        x = normalise(augment(pixels[chosen], generator))
        if side != x.shape[-1]:
            x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
        yield x, labels[chosen]


def accuracy(model: nn.Module, pixels: Tensor, labels: Tensor) -> float:
    """Top-1 in evaluation mode, float32."""
    model.eval()
    with torch.inference_mode():
        hits = sum(
            int((model(normalise(p)).argmax(1) == y).sum())
            for p, y in zip(torch.split(pixels, 500), torch.split(labels, 500), strict=True)
        )
    return hits / len(pixels)


def round_to_half(model: nn.Module) -> None:
    """Round every floating point parameter and statistic to the nearest float16 value."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())


def parse_arguments() -> argparse.Namespace:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--small-epochs", type=int, default=12, help="of them, at 24x24 pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3, help="largest learning rate")
    parser.add_argument("--decay", type=float, default=0.05, help="weight decay")
    parser.add_argument("--smoothing", type=float, default=0.05, help="label smoothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


class Training:
    """Model, optimiser and schedule of one run of the recipe."""

    def __init__(self, args: argparse.Namespace, steps_per_epoch: int, classes: list[str]) -> None:
        self.args, self.classes = args, classes
        self.steps_per_epoch = steps_per_epoch
        self.model = create(ARCH, num_classes=len(classes))
        use_fast_depthwise_gradient(self.model)
        kernels = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [
            {"params": kernels, "weight_decay": args.decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=args.rate)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, args.rate, args.epochs * steps_per_epoch, pct_start=0.15
        )

    def resume(self) -> int:
        """Go on from the saved state; returns the first epoch that is still to do."""
        with torch.serialization.safe_globals([argparse.Namespace]):
            saved = torch.load(self.args.out)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        return int(saved["epoch"]) + 1

    def train_epoch(self, epoch: int, pixels: Tensor, labels: Tensor) -> float:
        """One pass over the training images; returns the mean loss."""
        # A generator per epoch, so that a resumed run sees what an unbroken one would.
        generator = torch.Generator().manual_seed(self.args.seed * 10_000 + epoch)
        self.model.train()
        # bfloat16 while learning coarsely, then let the statistics settle in full precision.
        coarse = epoch < self.args.epochs - FULL_PRECISION_EPOCHS
        # Small images first: nearly as instructive, at little more than half the price.
        side = SMALL_SIDE if epoch < self.args.small_epochs else pixels.shape[-1]
        total = 0.0
        for x, y in batches(pixels, labels, self.args.batch, side, generator):
            with torch.autocast("cpu", torch.bfloat16, enabled=coarse):
                logits = self.model(x).float()
            loss = F.cross_entropy(logits, y, label_smoothing=self.args.smoothing)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT_NORM)
            self.optimizer.step()
            self.schedule.step()
            total += float(loss.detach())
        return total / self.steps_per_epoch

    def save(self, epoch: int) -> None:
        """Replace the checkpoint in one step; the last one is for deployment only."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "epoch": epoch,
            "args": argparse.Namespace(**{k: str(v) for k, v in vars(self.args).items()}),
            "arch": ARCH,
            "D": self.model.config.levels,
            "classes": self.classes,
            "preprocessing": PREPROCESSING,
        }
        if epoch < self.args.epochs - 1:
            state |= {
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
            }
        partial = self.args.out.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.args.out)


def main() -> None:
    """Train, save after every epoch, and print one line of JSON per epoch."""
    args = parse_arguments()
    torch.manual_seed(args.seed)
    # Vanishing gradients of silent neurons are denormal numbers, which are slow.
    torch.set_flush_denormal(True)
    pixels, labels, classes = read_archive(args.archive, "train")
    test_pixels, test_labels, _ = read_archive(args.archive, "test")
    training = Training(args, len(pixels) // args.batch, classes)
    start = training.resume() if args.resume and args.out.exists() else 0
    for epoch in range(start, args.epochs):
        began = time.perf_counter()
        loss = training.train_epoch(epoch, pixels, labels)
        if epoch == args.epochs - 1:
            round_to_half(training.model)
        report = {
            "epoch": epoch,
            "loss": round(loss, 4),
            "test_accuracy": accuracy(training.model, test_pixels, test_labels),
            "seconds": round(time.perf_counter() - began),
        }
        print(json.dumps(report), flush=True)  # noqa: T201 (a script's own progress)
        training.save(epoch)


if __name__ == "__main__":
    main()
