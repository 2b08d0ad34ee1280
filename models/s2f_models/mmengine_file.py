"""What a checkpoint that MMEngine wrote says of itself besides the weights."""

from s2f_models.description import Description
from s2f_models.segmentation_classes import Colour
from s2f_models.stand_in import RefusedError

_LARGEST_BYTE, _COLOURS = 255, 3
_FIX = "give a checkpoint as MMEngine wrote it, or save its state_dict alone"


def read_mmengine(root: object) -> Description | None:
    """Names and colours of the classes of the data set that the network was trained on.

    Everything else in ``meta`` and ``message_hub`` (configuration, curves, seeds) is left alone.

    Returns:
        None for a file of another layout.

    Raises:
        RefusedError: the colours are none.
    """
    match root:
        case {"state_dict": dict(), "meta": {"dataset_meta": dict(said)}}:
            palette = _palette(said.get("palette"))
            return Description(classes=said.get("classes"), palette=palette)
        case {"state_dict": dict(), "meta": dict()}:
            return Description()
        case _:
            return None


def _palette(listed: object) -> tuple[Colour, ...] | None:
    if listed is None:
        return None
    if not isinstance(listed, list | tuple):
        raise RefusedError("the file's 'palette' is no list", _FIX)
    return tuple(_colour(colour) for colour in listed)


def _colour(colour: object) -> Colour:
    if isinstance(colour, list | tuple) and len(colour) == _COLOURS:
        parts = tuple(part for part in colour if type(part) is int and 0 <= part <= _LARGEST_BYTE)
        if len(parts) == _COLOURS:
            return parts
    raise RefusedError("the file's 'palette' has a colour that is not three bytes", _FIX)
