"""What a classifier's logits say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class of a prediction.

    Attributes:
        index: of the network's output.
        label: name of the class, ``class 17`` where the network came without names.
        probability: softmax of the logits.
    """

    index: int
    label: str
    logit: float
    probability: float


def top_classes(
    logits: NDArray[Any], classes: Sequence[str] | None, count: int = 5
) -> tuple[ClassScore, ...]:
    """The ``count`` best classes of logits[C], best first; of equal ones the first.

    >>> [s.label for s in top_classes(np.array([0.0, 2.0, 1.0]), ["ant", "bee", "cat"], 2)]
    ['bee', 'cat']
    """
    wide = np.asarray(logits, np.float64).reshape(-1)
    powers = np.exp(wide - wide.max())
    probabilities = powers / powers.sum()
    best = np.argsort(-wide, kind="stable")[:count]
    return tuple(
        ClassScore(
            int(i),
            printable(classes[i]) if classes else f"class {i}",
            float(wide[i]),
            float(probabilities[i]),
        )
        for i in best
    )


def printable(text: str) -> str:
    r"""A name out of a file, without anything that moves a cursor.

    >>> printable("tabby\x1b[2J")
    'tabby?[2J'
    """
    return "".join(c if c.isprintable() else "?" for c in text)
