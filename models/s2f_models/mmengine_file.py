"""What a checkpoint that MMEngine wrote says of itself besides the weights."""

from s2f_models.description import Description, read_palette

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
            palette = read_palette(said.get("palette"), _FIX)
            return Description(classes=said.get("classes"), palette=palette)
        case {"state_dict": dict(), "meta": dict()}:
            return Description()
        case _:
            return None
