"""Errors a user can cause, and therefore can fix."""


class S2FError(Exception):
    """Base class: states what is wrong, where, and how to fix it."""

    def __init__(self, what: str, *, where: str, fix: str) -> None:
        super().__init__(f"{what}\n  at:  {where}\n  fix: {fix}")


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
