"""Names and colours of the classes of the data sets that Spike2Former was published for."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

Colour = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DataSet:
    """Classes in the order of the outputs, and the colour that each is drawn in, RGB bytes."""

    name: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]


@cache
def data_sets() -> dict[str, DataSet]:
    """By name: ``ade20k``, ``cityscapes``, ``voc2012``."""
    text = (files("s2f_models") / "segmentation_classes.json").read_text(encoding="utf-8")
    return {
        name: DataSet(name, tuple(said["classes"]), tuple(map(tuple, said["palette"])))
        for name, said in json.loads(text).items()
    }


def data_set_of(classes: int) -> DataSet | None:
    """The data set with so many classes, if there is one.

    >>> data_set_of(21).classes[:3]
    ('background', 'aeroplane', 'bicycle')
    """
    return next((known for known in data_sets().values() if len(known.classes) == classes), None)
