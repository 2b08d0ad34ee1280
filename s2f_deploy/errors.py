"""Errors a user can cause, and therefore can fix."""


class S2FError(Exception):
    """Base class: states what is wrong, where, and how to fix it.

    Names come out of files: whatever of them would move a cursor is shown as a question mark.
    """

    def __init__(self, what: str, *, where: str, fix: str) -> None:
        super().__init__(f"{_shown(what)}\n  at:  {_shown(where)}\n  fix: {_shown(fix)}")


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


class ShapeMismatchError(S2FError):
    """Operand shapes that no valid graph can have."""


class UnsupportedPatternError(S2FError):
    """A construct outside the subset the compiler accepts."""


class IllegalGraphError(S2FError):
    """A graph that breaks a rule of the level it claims to be at."""


class ArtefactError(S2FError):
    """A file that is no artefact of ours, or a damaged one."""


class InputError(S2FError):
    """A network input that cannot be read or does not fit the network."""
