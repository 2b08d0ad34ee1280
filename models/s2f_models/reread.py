"""Memory that is read in another shape without being moved.

Published Spike2Former weights were trained through five places where a tensor of shape (A, B) is
taken as (B, A) as it lies in memory, which is no transposition. What looks like a slip is part of
the trained function: it has to be repeated. On a chip it is wiring.
"""

from torch import Tensor, nn


class Reread(nn.Module):
    """Element ``(b, a)`` of the result is element ``b * A + a`` of the source, row-major."""

    def forward(self, x: Tensor) -> Tensor:
        """float[B, A, *rest] -> float[B, *rest, A].

        >>> import torch
        >>> Reread()(torch.tensor([[[1, 2, 3], [4, 5, 6]]])).tolist()
        [[[1, 2], [3, 4], [5, 6]]]
        """
        return x.reshape(x.shape[0], *x.shape[2:], x.shape[1])
