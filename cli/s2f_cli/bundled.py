"""The trained networks that come with the package, and something to show each of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

_FOLDER = Path(str(files("s2f_cli") / "bundled"))


@dataclass(frozen=True, slots=True)
class Bundled:
    """One network: its artefact, a sample for it, and what it is in a few words."""

    artefact: Path
    sample: Path
    about: str


BUNDLED: Mapping[str, Bundled] = {
    "cifar10": Bundled(
        _FOLDER / "e_spikeformer_cifar10.s2f",
        _FOLDER / "cat.jpg",
        "E-SpikeFormer, ten kinds of animals and vehicles in photographs",
    ),
    "blood_cells": Bundled(
        _FOLDER / "spike_yolo_bccd.s2f",
        _FOLDER / "blood_cells.jpg",
        "SpikeYOLO, red and white blood cells and platelets under a microscope",
    ),
    "event_digits": Bundled(
        _FOLDER / "event_digits_nmnist.s2f",
        _FOLDER / "digit.bs2",
        "a classifier with real time steps, handwritten digits in front of an event camera",
    ),
    "photo_digits": Bundled(
        _FOLDER / "spike2former_digits.s2f",
        _FOLDER / "photo_digits.png",
        "Spike2Former, finds and reads handwritten digits in a photograph, pixel by pixel",
    ),
}
DEFAULT = BUNDLED["cifar10"]


def sample_for(artefact: Path) -> Path | None:
    """What a bundled artefact comes with; None of another one."""
    return next((b.sample for b in BUNDLED.values() if b.artefact == artefact), None)
