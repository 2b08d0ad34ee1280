from collections.abc import Iterator

import numba
import pytest
import torch
from torch import nn

from s2f_models.depthwise_gradient import use_fast_depthwise_gradient


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads(), numba.get_num_threads()
    yield
    numba.set_num_threads(before[1])
    torch.set_num_threads(before[0])


def test_threads_are_as_many_as_pytorch_was_told() -> None:
    """Starting Numba's would else make PyTorch have as many."""
    torch.set_num_threads(1)
    use_fast_depthwise_gradient(nn.Conv2d(4, 4, 7, padding=3, groups=4))
    assert (torch.get_num_threads(), numba.get_num_threads()) == (1, 1)
