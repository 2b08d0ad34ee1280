"""Where a command's report goes: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from s2f_deploy.errors import ArtefactError
from s2f_sim.atomic_file import replace_file

UNATTENDED_WIDTH = 160
GAP = 2
NARROWEST = 8


class Report:
    """Prints the banner at once, then whatever the command has to say.

    Args:
        banner: the command as the user gave it.
        json_path: where the JSON goes; ``-`` moves the tables to standard error.
    """

    def __init__(self, banner: str, json_path: Path | None) -> None:
        self._json_path = json_path
        self._to_stdout = str(json_path) == "-"
        self.console = Console(
            file=sys.stderr if self._to_stdout else sys.stdout,
            highlight=False,
            emoji=False,
            soft_wrap=True,
            width=None if sys.stdout.isatty() else UNATTENDED_WIDTH,
        )
        self._banner = f"s2f {banner}"
        self.begin()

    def begin(self) -> None:
        """The banner: at once, and again behind the reports of a pipeline."""
        self.line(self._banner)

    def line(self, text: str = "") -> None:
        """One line, as it is, flushed: the next command of a pipeline may be waiting for it."""
        self.console.print(text, markup=False)
        self.console.file.flush()

    def notice(self, text: str) -> None:
        """Something the user should know, on standard error."""
        click.secho(f"notice: {text}", fg="yellow", err=True)

    def table(self, columns: Mapping[str, str], rows: list[list[str]]) -> None:
        """A table; ``columns`` maps each heading to ``left`` or ``right``."""
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
        cells = zip(columns, *rows, strict=True)
        widest = [max(map(cell_len, column)) for column in cells]
        # In a narrow terminal the names of the first column may be cut, numbers never.
        room = self.console.width - sum(width + GAP for width in widest[1:])
        for i, (heading, side) in enumerate(columns.items()):
            table.add_column(
                heading,
                justify="right" if side == "right" else "left",
                no_wrap=True,
                min_width=widest[i] if i else None,
                max_width=None if i else max(room, NARROWEST),
            )
        for row in rows:
            # Text, because names may hold what looks like markup.
            table.add_row(*(Text(cell) for cell in row))
        self.console.print(table)
        self.console.file.flush()

    def json(self, command: str, document: Mapping[str, Any]) -> None:
        """Write the report's JSON where the user asked for it, if they did."""
        if self._json_path is None:
            return
        content = json.dumps({"schema": f"s2f/{command}/1", **document}, indent=1) + "\n"
        if self._to_stdout:
            click.echo(content, nl=False)
            return
        write_file(self._json_path, content, "report")

    @contextmanager
    def progress(self, task: str, total: int | None = None) -> Iterator["Bar"]:
        """A bar on standard error while the block runs, if somebody looks at it."""
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as bars:
            yield Bar(bars, bars.add_task(task, total=total))


def write_file(path: Path, content: str, what: str) -> None:
    """Write a text in one step.

    Raises:
        ArtefactError: it cannot be written; ``what`` it is, is said.
    """
    try:
        replace_file(path, content.encode())
    except OSError as error:
        raise ArtefactError(
            f"cannot write the {what}: {error.strerror}",
            where=str(path),
            fix="choose a directory that exists and may be written",
        ) from error


class Bar:
    """One running progress bar."""

    def __init__(self, bars: Progress, task: Any) -> None:
        self._bars, self._task = bars, task

    def update(self, done: int, total: int) -> None:
        """Move the bar to ``done`` of ``total``."""
        self._bars.update(self._task, completed=done, total=total)


def joules(picojoules: float) -> str:
    """An energy with the unit that suits it.

    >>> joules(5_112_000.0)
    '5.112 µJ'
    """
    for unit, scale in (("mJ", 1e9), ("µJ", 1e6), ("nJ", 1e3)):
        if abs(picojoules) >= scale:
            return f"{picojoules / scale:.3f} {unit}"
    return f"{picojoules:.1f} pJ"
