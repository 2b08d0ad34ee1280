"""Options that several commands share."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

FILE = click.Path(path_type=Path)
ARTEFACT_SUFFIX = ".s2f"
_MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6}
_LATEST_US = 1e15


class Moment(click.ParamType[int]):
    """A time such as ``2.5s``, ``2500ms`` or ``2500000us``; seconds if no unit is said."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Whole microseconds."""
        text = str(value)
        unit = next((u for u in _MICROSECONDS if text.endswith(u)), "")
        try:
            moment = float(text.removesuffix(unit)) * _MICROSECONDS[unit or "s"]
        except ValueError:
            moment = math.nan
        if not 0 <= moment <= _LATEST_US:
            self.fail(f"{text!r} is no time such as 2.5s, 2500ms or 2500000us", param, ctx)
        return round(moment)


def split(files: Sequence[Path], model: Path | None, most: int) -> tuple[Path | None, list[Path]]:
    """The artefact and the samples that a user named, in whatever order.

    Raises:
        click.UsageError: there are several artefacts, or more samples than ``most``.
    """
    artefacts = [path for path in files if path.suffix == ARTEFACT_SUFFIX]
    samples = [path for path in files if path.suffix != ARTEFACT_SUFFIX]
    if len(artefacts) + (model is not None) > 1:
        raise click.UsageError("give one artefact")
    if len(samples) > most:
        raise click.UsageError(f"give one picture or recording, not {len(samples)}")
    return model or next(iter(artefacts), None), samples


model: Decorator = click.option(
    "--model",
    "-m",
    type=FILE,
    help="Artefact, or the name of a bundled one. Default: the only *.s2f here, else cifar10.",
)
timesteps: Decorator = click.option(
    "--timesteps",
    "-k",
    type=click.IntRange(1, 255),
    metavar="K",
    help="Timesteps of its window in which a neuron may fire. Default: D, which is exact.",
)
engine: Decorator = click.option(
    "--engine",
    type=click.Choice(["events", "reference"]),
    default="events",
    show_default=True,
    help="Event-driven accumulation, or the dense reference.",
)
threads: Decorator = click.option(
    "--threads", type=click.IntRange(1), metavar="N", help="Default: all cores."
)
at: Decorator = click.option(
    "--at",
    "at_us",
    type=Moment(),
    metavar="TIME",
    help="Of recordings: end of the window that is seen, as 2.5s. Default: the end.",
)
json: Decorator = click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Also write the report as JSON; - for standard output.",
)
