"""Which preparation a network asks for, as its artefact or checkpoint says it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2f_sim.centre_crop import CentreCrop
from s2f_sim.entries import choice, invalid
from s2f_sim.event_frames import EventFrames
from s2f_sim.fitted_picture import FittedPicture
from s2f_sim.whole_picture import WholePicture

Preparation = CentreCrop | WholePicture | FittedPicture | EventFrames

KINDS: Mapping[
    str, type[CentreCrop] | type[WholePicture] | type[FittedPicture] | type[EventFrames]
] = {kind.kind: kind for kind in (CentreCrop, WholePicture, FittedPicture, EventFrames)}


def read_preparation(entries: object, *, where: str) -> Preparation:
    """Read a table of a ``kind`` and what that kind has; without a kind, a centre crop.

    Raises:
        InputError: it makes no sense; ``where`` is cited.
    """
    if not isinstance(entries, Mapping):
        raise invalid("the preprocessing is no table", where)
    fields = dict(entries)
    kind = choice({"kind": fields.pop("kind", CentreCrop.kind)}, "kind", tuple(KINDS), where)
    return KINDS[kind].from_dict(fields, where=where)


def write_preparation(preparation: Preparation) -> dict[str, Any]:
    """What ``read_preparation`` reads."""
    return {"kind": preparation.kind, **preparation.to_dict()}


def prepare_pictures(pictures: NDArray[np.uint8], preparation: Preparation) -> NDArray[np.float32]:
    """Pictures uint8[N, H, W, 3] -> float32[N, 3, H', W'], as the network takes them.

    Raises:
        InputError: the network takes no pictures.
    """
    return np.concatenate([preparation.prepare(Image.fromarray(p)) for p in pictures])
