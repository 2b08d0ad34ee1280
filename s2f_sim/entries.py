"""Reading tables out of artefacts and checkpoints that anybody may have made."""

from collections.abc import Mapping, Sequence
from typing import Any

from s2f_deploy.errors import InputError

LONGEST_SIDE = 4096
COLOURS = 3
# Of means and deviations; far outside of what any training uses, far inside of float32.
_LARGEST, _SMALLEST_STD = 1e6, 1e-6

Channels = tuple[float, float, float]


def invalid(what: str, where: str) -> InputError:
    """The error for preparation that makes no sense."""
    return InputError(what, where=where, fix="export the network again from its checkpoint")


def table(entries: object, names: Sequence[str], where: str) -> Mapping[str, Any]:
    """A table that has exactly these entries.

    Raises:
        InputError: something else; ``where`` is cited.
    """
    if not isinstance(entries, Mapping) or set(entries) != set(names):
        raise invalid(f"the preprocessing is not a table of {', '.join(names)}", where)
    return entries


def whole(
    entries: Mapping[str, Any], name: str, where: str, *, least: int = 1, most: int = LONGEST_SIDE
) -> int:
    """A whole number within limits.

    Raises:
        InputError: something else; ``where`` is cited.
    """
    value = entries[name]
    if type(value) is not int or not least <= value <= most:
        raise invalid(f"{name} is no whole number of {least:,} to {most:,}", where)
    return value


def choice(entries: Mapping[str, Any], name: str, known: Sequence[str], where: str) -> str:
    """One of some words.

    Raises:
        InputError: something else; ``where`` is cited.
    """
    value = entries[name]
    if not isinstance(value, str) or value not in known:
        raise invalid(f"the {name} is none of {', '.join(known)}", where)
    return value


def normalisation(entries: Mapping[str, Any], where: str) -> tuple[Channels, Channels]:
    """``mean`` and ``std`` of every colour.

    Raises:
        InputError: they are no such lists, or a deviation is about zero; ``where`` is cited.
    """
    mean, std = (_channels(entries, name, where) for name in ("mean", "std"))
    if min(std) < _SMALLEST_STD:
        raise invalid(f"std must be at least {_SMALLEST_STD}", where)
    return mean, std


def _channels(entries: Mapping[str, Any], name: str, where: str) -> Channels:
    values = entries[name]
    listed = list(values) if isinstance(values, list | tuple) else []
    numbers = [float(v) for v in listed if type(v) in (int, float) and abs(v) <= _LARGEST]
    if not len(numbers) == len(listed) == COLOURS:
        raise invalid(f"{name} is no list of {COLOURS} numbers up to {_LARGEST:,.0f}", where)
    red, green, blue = numbers
    return red, green, blue
