"""The recipe of the bundled model: a small E-SpikeFormer trained on CIFAR-10.

    python -m s2f_models.train_cifar10 --archive cifar10_jpeg.zip --out e_spikeformer_cifar10.pth

The archive holds ``{train,test}/<class>/<number>.jpg``. Saved after every epoch, in upstream's
container; ``--resume`` goes on from there. The last step rounds the weights to float16 values,
which halves the space they take in a compressed artefact, and measures what that model reaches.

``--start trained.pth --quantise 8`` fine-tunes instead with weights that deployment will quantise
without changing the network: in float32 throughout, batch norms fixed, nothing rounded to float16.
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

from s2f_models.averaged_training import round_to_half
from s2f_models.depthwise_gradient import use_fast_depthwise_gradient
from s2f_models.quantised_training import bake_weights, quantise_weights
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
LARGEST_GRADIENT_NORM = 2.0
SMALL_SIDE = 24
MEASURED_EVERY = 4
CALIBRATION_IMAGES = 20


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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint that this recipe saved."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        checkpoint: dict[str, Any] = torch.load(path)
    return checkpoint


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
    parser.add_argument(
        "--full-precision-epochs", type=int, default=2, help="the last, float32 instead of bfloat16"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="checkpoint whose weights to begin with")
    parser.add_argument(
        "--quantise", type=int, choices=(8, 16), help="fine-tune for weights of so many bits"
    )
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


class Training:
    """Model, optimiser and schedule of one run of the recipe."""

    def __init__(self, args: argparse.Namespace, pixels: Tensor, classes: list[str]) -> None:
        self.args, self.classes = args, classes
        self.steps_per_epoch: int = len(pixels) // args.batch
        # Images are sorted by class: evenly spaced ones show every class.
        count = min(CALIBRATION_IMAGES, len(pixels))
        evenly = pixels[torch.arange(count) * len(pixels) // count]
        self.calibration = evenly.permute(0, 2, 3, 1).contiguous()
        self.model = create(ARCH, num_classes=len(classes))
        if args.start is not None:
            self.model.load_state_dict(read_checkpoint(args.start)["model"])
        # What quantised weights were rounded from; the model itself has them only in training.
        self.latent: dict[str, Tensor] | None = None
        use_fast_depthwise_gradient(self.model)
        kernels = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [
            {"params": kernels, "weight_decay": args.decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=args.rate)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, args.rate, args.epochs * self.steps_per_epoch, pct_start=0.15
        )

    def resume(self) -> int:
        """Go on from the saved state; returns the first epoch that is still to do."""
        saved = read_checkpoint(self.args.out)
        self.model.load_state_dict(saved["model"])
        self.latent = saved.get("latent") if self.args.quantise else None
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        return int(saved["epoch"]) + 1

    def train_epoch(self, epoch: int, pixels: Tensor, labels: Tensor) -> float:
        """One pass over the training images; returns the mean loss."""
        # A generator per epoch, so that a resumed run sees what an unbroken one would.
        generator = torch.Generator().manual_seed(self.args.seed * 10_000 + epoch)
        self.model.train()
        # bfloat16 while learning coarsely, then let the statistics settle in full precision.
        # Quantised weights are on their grid in full precision only.
        first_fine = self.args.epochs - self.args.full_precision_epochs
        coarse = epoch < first_fine and not self.args.quantise
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

    def train_quantised_epoch(self, epoch: int, pixels: Tensor, labels: Tensor) -> float:
        """The same with quantised weights, which the model keeps; ``latent`` goes on next time."""
        quantise_weights(self.model, normalise(pixels[:1]), self.args.quantise)
        if self.latent is not None:
            self.model.load_state_dict(self.latent)
        loss = self.train_epoch(epoch, pixels, labels)
        self.latent = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        bake_weights(self.model)
        return loss

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
            "calibration": self.calibration,
        }
        if epoch < self.args.epochs - 1:
            state |= {
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
            }
            if self.latent is not None:
                state["latent"] = self.latent
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
    training = Training(args, pixels, classes)
    start = training.resume() if args.resume and args.out.exists() else 0
    for epoch in range(start, args.epochs):
        began = time.perf_counter()
        train = training.train_quantised_epoch if args.quantise else training.train_epoch
        loss = train(epoch, pixels, labels)
        if epoch == args.epochs - 1 and not args.quantise:
            # Not what is quantised: its grid is no float16 values.
            round_to_half(training.model)
        report = {
            "epoch": epoch,
            "loss": round(loss, 4),
            "seconds": round(time.perf_counter() - began),
        }
        if (args.epochs - 1 - epoch) % MEASURED_EVERY == 0:
            report["test_accuracy"] = accuracy(training.model, test_pixels, test_labels)
        print(json.dumps(report), flush=True)  # noqa: T201 (a script's own progress)
        training.save(epoch)


if __name__ == "__main__":
    main()
