"""Reading tables out of artefacts and checkpoints that anybody may have made."""

from collections.abc import Mapping, Sequence
from typing import Any

from s2f_deploy.errors import InputError

LONGEST_SIDE = 4096


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
