"""What a Spike2Former can be taught by ``train_spike2former``."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from s2f_models import camvid, composed_digits
from s2f_models.composed_digits import Scenes
from s2f_models.mnist import Digits
from s2f_models.pixel_score import Annotated, scaled
from s2f_models.segmentation_classes import Colour
from s2f_models.segmentation_loss import IGNORED

Batch = tuple[Tensor, Tensor]


class Lessons(Protocol):
    """Pictures to train with and to measure by.

    Attributes:
        arch: name of the network.
        classes: of its outputs.
        palette: the colour of each, if the data set has any.
        size: rows and columns of its input.
    """

    arch: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    palette: ClassVar[tuple[Colour, ...] | None]
    size: ClassVar[tuple[int, int]]

    @property
    def tested(self) -> list[Annotated]:
        """Pictures that training never shows."""

    def __len__(self) -> int:
        """Pictures of one epoch."""

    def batches(self, batch: int, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch: uint8[B, 3, *size], int64[B, *size]; the incomplete last batch is left."""

    @property
    def class_weights(self) -> Tensor | None:
        """What a pixel of each class weighs, float32[K]; all alike without."""

    def examples(self, count: int) -> Tensor:
        """Pictures of training as the network sees them, uint8[count, 3, *size]."""


@dataclass(frozen=True, eq=False, slots=True)
class DigitLessons:
    """Digits on photographs, new ones in every epoch.

    Attributes:
        digits: to train with.
        photographs: likewise.
        held_out: pictures of other digits on other photographs.
        pictures: of one epoch.
    """

    digits: Digits
    photographs: list[Tensor]
    held_out: Scenes
    pictures: int

    # The background is most of every picture, and is what a digit must be told from.
    class_weights: ClassVar[None] = None
    arch: ClassVar[str] = "spike2former_digits"
    classes: ClassVar[tuple[str, ...]] = composed_digits.CLASSES
    palette: ClassVar[tuple[Colour, ...] | None] = None
    size: ClassVar[tuple[int, int]] = (composed_digits.SIDE, composed_digits.SIDE)

    @property
    def tested(self) -> list[Annotated]:
        """The pictures held out."""
        pairs = zip(self.held_out.pictures, self.held_out.labels, strict=True)
        return [Annotated(pixels, labels) for pixels, labels in pairs]

    def __len__(self) -> int:
        """Pictures of one epoch."""
        return self.pictures

    def batches(self, batch: int, generator: torch.Generator) -> Iterator[Batch]:
        """As ``Lessons``."""
        for _ in range(len(self) // batch):
            scenes = composed_digits.compose(self.digits, self.photographs, batch, generator)
            yield scenes.pictures, scenes.labels

    def examples(self, count: int) -> Tensor:
        """As ``Lessons``."""
        generator = torch.Generator().manual_seed(0)
        return composed_digits.compose(self.digits, self.photographs, count, generator).pictures


@dataclass(frozen=True, eq=False)
class StreetLessons:
    """Street scenes, shown differently in every epoch.

    Attributes:
        trained: pictures to train with.
        tested: other pictures.
    """

    trained: list[Annotated]
    tested: list[Annotated]

    arch: ClassVar[str] = "spike2former_camvid"
    classes: ClassVar[tuple[str, ...]] = camvid.CLASSES
    palette: ClassVar[tuple[Colour, ...] | None] = camvid.PALETTE
    size: ClassVar[tuple[int, int]] = (camvid.HEIGHT, camvid.WIDTH)

    def __len__(self) -> int:
        """Pictures of one epoch."""
        return len(self.trained)

    def batches(self, batch: int, generator: torch.Generator) -> Iterator[Batch]:
        """As ``Lessons``."""
        return camvid.batches(self.trained, batch, generator)

    @cached_property
    def class_weights(self) -> Tensor:
        """As ``Lessons``: by the root of how rare a class is, 1 for the one in the middle."""
        named = torch.cat([p.labels[p.labels != IGNORED] for p in self.trained])
        pixels = torch.bincount(named, minlength=len(self.classes)).clamp(min=1).float()
        return (pixels.median() / pixels).sqrt()

    def examples(self, count: int) -> Tensor:
        """As ``Lessons``."""
        chosen = [self.trained[i * len(self) // count] for i in range(count)]
        return torch.stack([scaled(picture.pixels, self.size) for picture in chosen])
