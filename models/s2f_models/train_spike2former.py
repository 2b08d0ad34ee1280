"""The recipe of small segmentation networks: Spike2Former for digits on photographs, or streets.

    python -m s2f_models.train_spike2former --data digits --mnist mnist/ \
        --photographs photographs/ --held-out others/ --out spike2former_digits.pth
    python -m s2f_models.train_spike2former --data camvid --archive camvid_240x320.zip \
        --start spike2former_digits.pth --out spike2former_camvid.pth

Saved after every epoch; ``--resume`` goes on from there as if it had never stopped. What is
saved under ``model`` are averaged weights; the last step rounds them to float16 values, which
halves the space they take in a compressed artefact, and measures what that model reaches.

Sampling offsets are rounded to the network's grid from the first step on, so that integers change
nothing about them.
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
from torch import Tensor, nn

from s2f_models.averaged_training import AveragedTraining, Plan, round_to_half
from s2f_models.camvid import read_archive
from s2f_models.composed_digits import HELD_OUT, held_out, read_photographs
from s2f_models.deformable_sampling import DeformableSample
from s2f_models.depthwise_gradient import use_fast_depthwise_gradient
from s2f_models.mnist import read_digits
from s2f_models.pixel_score import MEAN, STD, mean_overlap, measure, normalise, overlaps
from s2f_models.registry import create
from s2f_models.segmentation_lessons import Batch, DigitLessons, Lessons, StreetLessons
from s2f_models.segmentation_loss import segmentation_loss
from s2f_models.spike2former import Spike2Former

CALIBRATION_IMAGES = 2
# Published networks begin with 1e-6 and train for days.
FIRST_GAMMA = 0.1
# Of what a decoder layer adds to the queries, beside the queries themselves.
LAST_OF_BRANCHES, FIRST_CHANGE = ("attn.out_conv.1.weight", "ffn.bn2.weight"), 0.25
# Parts that another network may have learned, whatever it was asked for.
SEEING = ("backbone.", "decode_head.pixel_decoder.")
# Logit of the class that a query begins with, and what steadies the equations for it.
FIRST_LOGIT, RIDGE = 4.0, 0.1
WITHOUT_DECAY = ("query_embed", "query_feat", "level_embed")
# The averaged weights remember some hundred steps, fewer in the beginning.
AVERAGE_DECAY, AVERAGE_WARM_UP = 0.998, 300
WARM_UP, LEAST_RATE = 0.05, 0.01


def parse_arguments() -> argparse.Namespace:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("digits", "camvid"), required=True)
    parser.add_argument("--backbone", choices=("sdtv2", "sdtv3"), default="sdtv2")
    parser.add_argument("--mnist", type=Path, help="digits: folder of its uncompressed files")
    parser.add_argument("--photographs", type=Path, help="digits: folder to train with")
    parser.add_argument("--held-out", type=Path, help="digits: photographs to measure with")
    parser.add_argument("--archive", type=Path, help="camvid: zip file")
    parser.add_argument("--measure-on", default="test", help="camvid: split")
    parser.add_argument("--pictures", type=int, default=2000, help="digits: of one epoch")
    parser.add_argument("--tested", type=int, default=HELD_OUT, help="digits: pictures")
    parser.add_argument(
        "--start", type=Path, help="checkpoint whose backbone and pixel decoder to begin with"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3, help="largest learning rate")
    parser.add_argument("--decay", type=float, default=0.005, help="weight decay")
    parser.add_argument("--clip", type=float, default=5.0, help="largest norm of a gradient")
    parser.add_argument(
        "--pixel-weight", type=float, default=2.0, help="of the composed map's cross-entropy"
    )
    parser.add_argument("--measure-every", type=int, default=2, help="epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    needed = ("mnist", "photographs", "held_out") if args.data == "digits" else ("archive",)
    if missing := [name for name in needed if getattr(args, name) is None]:
        parser.error(f"--data {args.data} needs --{missing[0].replace('_', '-')}")
    return args


def read_lessons(args: argparse.Namespace) -> Lessons:
    """What the command line says to teach."""
    if args.data == "camvid":
        return StreetLessons(
            read_archive(args.archive, "train"), read_archive(args.archive, args.measure_on)
        )
    return DigitLessons(
        read_digits(args.mnist, "train"),
        read_photographs(args.photographs),
        held_out(args.mnist, args.held_out, args.tested),
        args.pictures,
    )


def prepare(model: Spike2Former) -> None:
    """Begin with queries that have a class each, in turn, and mostly keep it in the decoder.

    Fresh queries are all alike to the matching, which then gives a class to another one in every
    step: from ten thousand pictures nothing but a foreground is learned.
    """
    head = model.decode_head
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gamma" in name:
                parameter.fill_(FIRST_GAMMA)
            elif name.endswith(LAST_OF_BRANCHES):
                parameter.fill_(FIRST_CHANGE)
        signs = (head.query_feat.weight > 0).double()
        known = torch.cat((signs, torch.ones(len(signs), 1).double()), 1)
        wanted = torch.zeros(len(signs), len(head.cls_embed.weight)).double()
        order = torch.arange(len(signs))
        wanted[order, order % model.config.named_classes] = FIRST_LOGIT
        steadied = known.t() @ known + RIDGE * torch.eye(known.shape[1]).double()
        solved = torch.linalg.solve(steadied, known.t() @ wanted)
        head.cls_embed.weight.copy_(solved[:-1].t())
        head.cls_embed.bias.copy_(solved[-1])


def begin_with(model: Spike2Former, checkpoint: Path) -> None:
    """Take the backbone and the pixel decoder of a trained network; queries begin afresh."""
    saved: dict[str, Tensor] = torch.load(checkpoint)["model"]
    taken = {name: tensor for name, tensor in saved.items() if name.startswith(SEEING)}
    unknown = model.load_state_dict(taken, strict=False)
    assert not unknown.unexpected_keys
    assert not [name for name in unknown.missing_keys if name.startswith(SEEING)]


class Training(AveragedTraining[Spike2Former]):
    """Model, averaged model, optimiser and schedule of one run of the recipe."""

    def __init__(self, args: argparse.Namespace, lessons: Lessons) -> None:
        self.args, self.lessons = args, lessons
        self.arch = lessons.arch + ("_v3" if args.backbone == "sdtv3" else "")
        self.steps_per_epoch = len(lessons) // int(args.batch)
        plan = Plan(
            out=args.out,
            epochs=args.epochs,
            steps_per_epoch=self.steps_per_epoch,
            rate=args.rate,
            warm_up=WARM_UP,
            least=LEAST_RATE,
            largest_norm=args.clip,
            average_decay=AVERAGE_DECAY,
            average_warm_up=AVERAGE_WARM_UP,
        )
        super().__init__(plan, self._create(), self._create())
        use_fast_depthwise_gradient(self.model)
        for module in self.model.modules():
            if isinstance(module, DeformableSample):
                # Positions have more digits than bfloat16.
                module.register_forward_pre_hook(_in_float32)
        named = list(self.model.named_parameters())
        decayed = [p.ndim > 1 and not any(part in n for part in WITHOUT_DECAY) for n, p in named]
        self.optimise(
            (p for (_, p), chosen in zip(named, decayed, strict=True) if chosen),
            (p for (_, p), chosen in zip(named, decayed, strict=True) if not chosen),
            args.decay,
        )

    def _create(self) -> Spike2Former:
        model = create(self.arch)
        assert isinstance(model, Spike2Former)
        prepare(model)
        if self.args.start is not None:
            begin_with(model, self.args.start)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the lessons; returns the mean of every term of the loss."""
        # A generator per epoch, so that a resumed run sees what an unbroken one would.
        generator = torch.Generator().manual_seed(self.args.seed * 10_000 + epoch)
        self.model.train()
        sums = torch.zeros(5)
        steps = self.lessons.batches(self.args.batch, generator)
        for pixels, labels in self._shown(steps, f"epoch {epoch + 1} of {self.args.epochs}"):
            sums += self._step(pixels, labels)
        names = ("loss", "classes", "focal", "dice", "pixels")
        means = (sums / max(self.steps_per_epoch, 1)).tolist()
        return {name: round(mean, 4) for name, mean in zip(names, means, strict=True)}

    def _step(self, pixels: Tensor, labels: Tensor) -> Tensor:
        x = normalise(pixels).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            classes, masks = self.model(x, all_layers=True)
        # Labels at the masks' size: half of a step's time would go to the loss otherwise.
        loss = segmentation_loss(
            classes.float(),
            masks.float(),
            labels,
            self.args.pixel_weight,
            enlarge=False,
            class_weights=self.lessons.class_weights,
        )
        self.descend(loss.total)
        terms = (loss.total, loss.classes, loss.focal, loss.dice, loss.pixels)
        return torch.stack(terms).detach()

    def _shown(self, steps: Iterable[Batch], title: str) -> Iterator[Batch]:
        console = Console(stderr=True)
        yield from track(steps, title, total=self.steps_per_epoch, console=console, transient=True)

    def score(self) -> dict[str, Any]:
        """What the averaged weights reach on the pictures that training never shows."""
        counts = measure(self.average, self.lessons.tested, self.lessons.size)
        by_class = zip(self.lessons.classes, overlaps(counts), strict=True)
        right = float(counts.diagonal().sum() / counts.sum().clamp(min=1))
        return {
            "miou": round(mean_overlap(counts), 4),
            "pixel_accuracy": round(right, 4),
            "iou": {name: round(iou, 3) for name, iou in by_class if iou is not None},
        }

    def save(self, epoch: int) -> None:
        """Replace the checkpoint in one step; the last one is for deployment only."""
        height, width = self.lessons.size
        described = {
            "arch": self.arch,
            "D": self.average.config.levels,
            "offset_bits": self.average.config.offset_bits,
            "classes": list(self.lessons.classes),
            "palette": self.lessons.palette,
            "preprocessing": {
                "kind": "fitted",
                "height": height,
                "width": width,
                "mean": list(MEAN),
                "std": list(STD),
            },
            "calibration": self.lessons.examples(CALIBRATION_IMAGES)
            .permute(0, 2, 3, 1)
            .contiguous(),
        }
        self.write(epoch, described)


def _in_float32(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.float() for tensor in inputs)


def main() -> None:
    """Train, save after every epoch, and print one line of JSON per epoch."""
    args = parse_arguments()
    torch.manual_seed(args.seed)
    # Vanishing gradients of silent neurons are denormal numbers, which are slow.
    torch.set_flush_denormal(True)
    training = Training(args, read_lessons(args))
    start = training.resume() if args.resume and args.out.exists() else 0
    for epoch in range(start, args.epochs):
        began = time.perf_counter()
        report: dict[str, Any] = {"epoch": epoch, **training.train_epoch(epoch)}
        report["seconds"] = round(time.perf_counter() - began, 1)
        last = epoch == args.epochs - 1
        if last:
            round_to_half(training.average)
        if last or (epoch + 1) % args.measure_every == 0:
            report |= training.score()
        print(json.dumps(report), flush=True)  # noqa: T201 (a script's own progress)
        training.save(epoch)


if __name__ == "__main__":
    main()
