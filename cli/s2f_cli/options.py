"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

FILE = click.Path(path_type=Path)

model: Decorator = click.option(
    "--model",
    "-m",
    type=FILE,
    help="Artefact. Default: the only *.s2f here, else the bundled network.",
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
json: Decorator = click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Also write the report as JSON; - for standard output.",
)
