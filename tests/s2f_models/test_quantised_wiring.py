"""What quantisation takes from one forward pass: who feeds whom, and what it refuses."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from s2f_models import IntegerFire, ModelError
from s2f_models.quantised_training import bake_weights, quantise_rows, quantise_weights

SAMPLE = torch.zeros(1, 3, 8, 8)


class Shared(nn.Module):
    """The same weights behind several neurons."""

    def __init__(self, *norms: float) -> None:
        super().__init__()
        self.neurons = nn.ModuleList([IntegerFire(4, norm) for norm in norms])
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        for neuron in self.neurons:
            x = self.conv(neuron(x))
        return x


class Overwritten(nn.Module):
    """What a convolution gave is added to where it lies."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y += x
        z: Tensor = self.norm(y)
        return z


class OnlyFirst(nn.Sequential):
    """Runs nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self[0](x)
        return y


def on_grid(weight: Tensor, scale: float) -> bool:
    integers, power = quantise_rows(weight.detach().double() * scale, 8)
    return torch.allclose(weight.double() * scale, integers * power, rtol=1e-6, atol=0)


CONV = nn.Conv2d(3, 4, 1)


@pytest.mark.parametrize(
    ("network", "where", "message"),
    [
        (nn.Sequential(IntegerFire(4, 4), nn.Flatten()), "Sequential", "no weights to quantise"),
        (nn.Sequential(CONV, nn.Conv2d(4, 2, 1)), "1", "neither a neuron nor the network's input"),
        (Overwritten(), "norm", "does not follow one convolution"),
        (
            nn.Sequential(CONV, nn.Flatten(2), nn.Unflatten(1, (1, 4)), nn.BatchNorm2d(1)),
            "3",
            "does not follow one convolution",
        ),
        (
            nn.Sequential(CONV, nn.BatchNorm2d(4, track_running_stats=False)),
            "1",
            "keeps no statistics",
        ),
        (Shared(4, 2), "conv", "used twice"),
        (nn.Sequential(weight_norm(nn.Conv2d(3, 4, 1))), "0", "already"),
    ],
)
def test_network_that_cannot_be_deployed_so_is_refused_and_left_alone(
    network: nn.Module, where: str, message: str
) -> None:
    keys = list(network.state_dict())
    with pytest.raises(ModelError, match=message) as caught:
        quantise_weights(network, SAMPLE)
    assert caught.value.where == where
    assert list(network.state_dict()) == keys
    assert all(module.training for module in network.modules())


def test_second_call_asks_for_baking() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1))
    quantise_weights(network, SAMPLE)
    with pytest.raises(ModelError, match="already") as caught:
        quantise_weights(network, SAMPLE)
    assert "bake_weights" in caught.value.fix


def test_weights_used_twice_in_the_same_way_are_quantised() -> None:
    network = Shared(3, 3)
    assert not on_grid(network.conv.weight, 1 / 3)
    quantise_weights(network, SAMPLE)
    assert on_grid(network.conv.weight, 1 / 3)


def test_every_norm_behind_the_weights_is_folded() -> None:
    linear, first = nn.Linear(4, 3), nn.BatchNorm1d(3, eps=0.25)
    second = nn.BatchNorm1d(3, affine=False, eps=0)
    assert second.running_var is not None
    second.running_var.fill_(9)
    scale = 1 / math.sqrt(1.25) / 3
    assert not on_grid(linear.weight, scale)
    quantise_weights(nn.Sequential(linear, first, second), torch.zeros(2, 4))
    assert on_grid(linear.weight, scale)


def test_a_dropout_that_training_left_on_hides_no_neuron() -> None:
    conv = nn.Conv2d(3, 4, 1)
    network = nn.Sequential(IntegerFire(3, norm=3), nn.Dropout(), conv)
    quantise_weights(network, SAMPLE)
    assert on_grid(conv.weight, 1 / 3)
    assert network[1].training


def test_other_parametrizations_survive_baking() -> None:
    network = OnlyFirst(nn.Conv2d(3, 3, 1), weight_norm(nn.Conv2d(3, 3, 1)))
    keys = list(network.state_dict())
    quantise_weights(network, SAMPLE)
    bake_weights(network)
    assert list(network.state_dict()) == keys
