"""Errors a user can cause, and therefore can fix.

The reference networks import neither compiler nor simulator, so these repeat the shape of the
compiler's own errors.
"""

_SHOWN_CHARACTERS = 120


class ModelError(Exception):
    """States what is wrong, where, and how to fix it."""

    def __init__(self, what: str, *, where: str, fix: str) -> None:
        super().__init__(f"{what}\n  at:  {where}\n  fix: {fix}")
        self.what = what
        self.where = where
        self.fix = fix


class CheckpointError(ModelError):
    """A file that is no checkpoint of a network this package has, is damaged, or hostile."""


def shown(text: str) -> str:
    r"""A name from an untrusted file, safe to print: ASCII, escaped, of bounded length.

    >>> shown("head.weight")
    'head.weight'
    >>> shown("red\x1b[31m")
    'red\\x1b[31m'
    """
    escaped = ascii(text[:_SHOWN_CHARACTERS])[1:-1]
    return escaped if len(text) <= _SHOWN_CHARACTERS else f"{escaped}..."
