"""The quantisation report of an artefact, read back and checked."""

from dataclasses import dataclass

from s2f_deploy.errors import InputError
from s2f_deploy.ir.graph import Graph


@dataclass(frozen=True, slots=True)
class Quantisation:
    """What putting a network on grids has cost.

    Attributes:
        weights: ``int8`` or ``int16``.
        overrides: patterns of layer names whose weights have other bits, and their bits.
        calibration_images: on which weights were chosen and counts compared; 0: by weights alone.
        neurons: counts compared, over all images.
        counts_changed: of these, differing from the trained network's.
        cut: weights that their layer's grid does not reach.
        worst_layer: with the largest error of its own on these images, or None without images.
        worst_error: root mean square of that error over root mean square of the currents.
    """

    weights: str
    overrides: dict[str, int]
    calibration_images: int
    neurons: int
    counts_changed: int
    cut: int
    worst_layer: str | None
    worst_error: float | None


def stored_quantisation(graph: Graph) -> Quantisation | None:
    """The report in ``graph.metadata["quantisation"]``; None if there is none.

    Raises:
        InputError: it is malformed.
    """
    match graph.metadata.get("quantisation"):
        case None:
            return None
        case {
            "weights": str(weights),
            "overrides": dict(overrides),
            "calibration_images": int(images),
            "neurons": int(neurons),
            "counts_changed": int(changed),
            "layers": list(layers),
        } if all(map(_is_grid, layers)) and all(isinstance(b, int) for b in overrides.values()):
            judged = [layer for layer in layers if layer["own_error"] is not None]
            worst = max(judged, key=lambda layer: float(layer["own_error"]), default=None)
            return Quantisation(
                weights=weights,
                overrides=dict(overrides),
                calibration_images=images,
                neurons=neurons,
                counts_changed=changed,
                cut=sum(layer["cut"] for layer in layers),
                worst_layer=worst and worst["layer"],
                worst_error=worst and worst["own_error"],
            )
    raise InputError(
        "the quantisation report is malformed",
        where=graph.name,
        fix="the artefact is damaged or was not written by this version: export it again",
    )


def _is_grid(layer: object) -> bool:
    match layer:
        case {"layer": str(), "cut": int(), "own_error": None | int() | float()}:
            return True
    return False
