"""What a network that tells the class of every pixel answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from s2f_sim.entries import COLOURS, invalid
from s2f_sim.prediction import printable

_SHOWN_CLASSES = 20
_BRIGHTEST = 255

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Region:
    """All pixels of one class.

    Attributes:
        class_index: of the network's output.
        label: name of the class, ``class 17`` where the network came without names.
        pixels: how many.
        share: of the picture.
    """

    class_index: int
    label: str
    pixels: int
    share: float


@dataclass(frozen=True, eq=False, slots=True)
class Segmented:
    """The class of every pixel of the original picture.

    Attributes:
        labels: uint16[h, w].
        regions: of the classes that are there, the largest first.
        palette: the colour of every class, if the network came with one.
    """

    labels: NDArray[np.uint16]
    regions: tuple[Region, ...]
    palette: tuple[Colour, ...] | None

    columns: ClassVar[Mapping[str, str]] = {"class": "left", "pixels": "right", "share": "right"}

    @classmethod
    def of(
        cls,
        labels: NDArray[np.uint16],
        classes: Sequence[str] | None,
        palette: Sequence[Colour] | None,
    ) -> "Segmented":
        """Sort a label map by the area of its classes."""
        pixels = np.bincount(labels.reshape(-1))
        present = [int(i) for i in np.argsort(-pixels, kind="stable") if pixels[i]]
        regions = (
            Region(
                i,
                printable(classes[i]) if classes else f"class {i}",
                int(pixels[i]),
                int(pixels[i]) / labels.size,
            )
            for i in present
        )
        return cls(labels, tuple(regions), tuple(palette) if palette else None)

    def rows(self) -> list[list[str]]:
        """As a table for people, with ``columns``; the largest classes."""
        return [
            [region.label, f"{region.pixels:,}", f"{region.share:.1%}"]
            for region in self.regions[:_SHOWN_CLASSES]
        ]

    def summary(self) -> str | None:
        """What the rows leave out."""
        more = len(self.regions) - _SHOWN_CLASSES
        return f"and {more:,} smaller classes" if more > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        height, width = self.labels.shape
        return {
            "size": [width, height],
            "regions": [
                {"class": r.class_index, "label": r.label, "pixels": r.pixels, "share": r.share}
                for r in self.regions
            ],
        }


def read_palette(entries: object, count: int, *, where: str) -> tuple[Colour, ...] | None:
    """The colour of each of ``count`` classes, as an artefact says it; None if it says none.

    >>> read_palette([[0, 0, 0], [255, 128, 0]], 2, where="")
    ((0, 0, 0), (255, 128, 0))

    Raises:
        InputError: it is no list of so many colours of three bytes each; ``where`` is cited.
    """
    if entries is None:
        return None
    listed = entries if isinstance(entries, list | tuple) else []
    colours = [_colour(entry) for entry in listed]
    known = tuple(colour for colour in colours if colour is not None)
    if not len(known) == len(listed) == count:
        raise invalid(f"the palette is no list of {count} colours of {COLOURS} bytes each", where)
    return known


def _colour(entry: object) -> Colour | None:
    match entry:
        case [int(), int(), int()] if all(
            type(byte) is int and 0 <= byte <= _BRIGHTEST for byte in entry
        ):
            red, green, blue = entry
            return red, green, blue
    return None
