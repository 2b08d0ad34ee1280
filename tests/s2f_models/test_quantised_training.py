import math
from collections.abc import Iterator
from copy import deepcopy
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from s2f_models import ESpikeFormer, IntegerFire, create, depthwise_gradient
from s2f_models.depthwise_gradient import use_fast_depthwise_gradient
from s2f_models.quantised_training import (
    Bits,
    Norm,
    Synapse,
    bake_weights,
    on_grid,
    quantise_rows,
    quantise_weights,
)

SAMPLE = torch.zeros(1, 3, 8, 8)
# What stands behind a synapse of this name.
NORM_NAMES = {
    "encode_conv": "encode_bn",
    "conv1": "bn1",
    "conv2": "bn2",
    "fc1_conv": "fc1_bn",
    "fc2_conv": "fc2_bn",
    "0": "1",
}
BITS = pytest.mark.parametrize("bits", [8, 16])


def randomise_norms(model: nn.Module) -> None:
    """Statistics and affine parameters as training leaves them: some gammas are negative."""
    for module in model.modules():
        if isinstance(module, Norm):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.05, 0.2)
            nn.init.normal_(module.weight, 0.5, 0.5)
            nn.init.normal_(module.bias, 0.3, 0.3)


@pytest.fixture
def model() -> ESpikeFormer:
    """Three levels: a norm that is no power of two."""
    torch.manual_seed(0)
    tiny = create("e_spikeformer_cifar10", embed_dims=(4, 4, 8, 8), num_heads=2, num_classes=3, D=3)
    assert isinstance(tiny, ESpikeFormer)
    randomise_norms(tiny)
    return tiny


def small_network() -> nn.Sequential:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        IntegerFire(3, norm=3),
        nn.Flatten(),
        nn.Linear(4 * 6 * 6, 5, bias=False),
        nn.BatchNorm1d(5),
        IntegerFire(5, norm=2.5),
        nn.Unflatten(1, (5, 1)),
        nn.Conv1d(5, 2, 1),
    )
    randomise_norms(network)
    return network


def synapses(model: nn.Module) -> Iterator[tuple[str, Synapse]]:
    return ((path, m) for path, m in model.named_modules() if isinstance(m, Synapse))


def folded_by_name(model: ESpikeFormer) -> dict[str, NDArray[np.float64]]:
    """What deployment makes of every weight, in its order of operations."""
    modules = dict(model.named_modules())
    result = {}
    for path, synapse in synapses(model):
        weight = synapse.weight.detach().double().numpy()
        norm = 1 if path in {"downsample1_1.encode_conv", "head"} else model.config.levels
        scale = np.ones(len(weight))
        parent, _, name = path.rpartition(".")
        if name in NORM_NAMES:
            behind = modules[f"{parent}.{NORM_NAMES[name]}"]
            assert isinstance(behind, Norm)
            assert behind.running_var is not None
            gamma, var = behind.weight.detach().double(), behind.running_var.double()
            # ONNX keeps epsilon in float32.
            scale = (gamma / (var + float(np.float32(behind.eps))).sqrt()).numpy()
        result[path] = (weight / norm) * scale.reshape(-1, *[1] * (weight.ndim - 1))
    return result


def exact_integers(folded: NDArray[np.float64], bits: int) -> list[tuple[int, list[Fraction]]]:
    """Exponent and unrounded multiples of every row, without floating point."""
    limit = 2 ** (bits - 1) - 1
    rows = []
    for row in folded.reshape(len(folded), -1):
        values = [Fraction(float(value)) for value in row]
        largest = max(abs(value) for value in values)
        exponent = 0 if not largest else math.frexp(float(largest))[1] - bits - 2
        while largest > limit * Fraction(2) ** exponent:
            exponent += 1
        rows.append((exponent, [value / Fraction(2) ** exponent for value in values]))
    return rows


@BITS
def test_baked_weights_fold_to_integers_in_range(model: ESpikeFormer, bits: Bits) -> None:
    latent = {path: exact_integers(f, bits) for path, f in folded_by_name(model).items()}
    quantise_weights(model, SAMPLE, bits)
    bake_weights(model)
    for path, folded in folded_by_name(model).items():
        for (exponent, expected), (baked_exponent, baked) in zip(
            latent[path], exact_integers(folded, bits), strict=True
        ):
            assert baked_exponent == exponent
            assert [round(value) for value in baked] == [round(value) for value in expected]
            assert all(abs(value - round(value)) < Fraction(1, 100) for value in baked)
            assert all(abs(value) <= 2 ** (bits - 1) - 1 for value in baked)


@BITS
def test_network_in_training_computes_with_what_is_baked(model: ESpikeFormer, bits: Bits) -> None:
    image = torch.randn(2, 3, 8, 8)
    model.eval()
    before = model(image)
    quantise_weights(model, SAMPLE, bits)
    quantised = model(image)
    bake_weights(model)
    assert torch.equal(model(image), quantised)
    assert not torch.equal(quantised, before)


@BITS
def test_baked_network_is_not_changed_again(model: ESpikeFormer, bits: Bits) -> None:
    quantise_weights(model, SAMPLE, bits)
    bake_weights(model)
    once = deepcopy(model.state_dict())
    quantise_weights(model, SAMPLE, bits)
    bake_weights(model)
    assert all(torch.equal(tensor, once[name]) for name, tensor in model.state_dict().items())


def test_keys_classes_and_parameters_are_back_after_baking(model: ESpikeFormer) -> None:
    use_fast_depthwise_gradient(model)
    keys, classes = list(model.state_dict()), [type(module) for module in model.modules()]
    parameters = list(model.parameters())
    quantise_weights(model, SAMPLE)
    assert list(model.state_dict()) != keys
    bake_weights(model)
    assert list(model.state_dict()) == keys
    assert [type(module) for module in model.modules()] == classes
    found = list(model.parameters())
    assert all(a is b and a.requires_grad for a, b in zip(found, parameters, strict=True))
    assert all(module.training for module in model.modules())


rows = st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3)


@given(st.lists(rows, min_size=1, max_size=4), st.sampled_from([8, 16]))
def test_rows_are_rounded_as_exact_arithmetic_says(values: list[list[float]], bits: Bits) -> None:
    folded = np.array(values)
    integers, powers = quantise_rows(torch.from_numpy(folded), bits)
    for i, (exponent, multiples) in enumerate(exact_integers(folded, bits)):
        assert powers[i].item() == 2.0**exponent
        assert integers[i].tolist() == [round(value) for value in multiples]


@BITS
@pytest.mark.parametrize("exponent", [-30, -1, 0, 1, 30])
def test_largest_weight_decides_the_power_exactly(bits: Bits, exponent: int) -> None:
    limit = 2.0 ** (bits - 1) - 1
    just = limit * 2.0**exponent
    cases = [[just, 0], [math.nextafter(just, math.inf), 0], [-just, 0], [0, 0]]
    integers, powers = quantise_rows(torch.tensor(cases, dtype=torch.float64), bits)
    assert powers.flatten().tolist() == [2.0**exponent, 2.0 ** (exponent + 1), 2.0**exponent, 1]
    assert integers[:, 0].tolist() == [limit, 2.0 ** (bits - 2), -limit, 0]


@given(
    st.floats(-1e3, 1e3).filter(lambda s: abs(s) > 1e-3),
    st.integers(-20, 20),
    st.sampled_from([8, 16]),
)
def test_largest_weight_keeps_its_power_when_folded_again(
    scale: float, exponent: int, bits: Bits
) -> None:
    limit = 2 ** (bits - 1) - 1
    scales = torch.tensor([scale], dtype=torch.float64)
    latent = torch.tensor([[(limit - 0.25) * 2.0**exponent / scale, 0]], dtype=torch.float32)
    baked = on_grid(latent, scales, bits)
    # Deployment may compute the scale in another order, which moves it a little.
    integers, power = quantise_rows(baked.double() * scale * (1 + 1e-8), bits)
    assert (integers[0, 0].item(), power.item()) == (limit, 2.0**exponent)
    assert torch.equal(on_grid(baked, scales, bits), baked)


def test_gamma_of_either_sign_or_zero() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    conv, norm = network
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -1.0, 0.0]))
        conv.weight[1] = conv.weight[0]
    before = conv.weight.detach().clone()
    quantise_weights(network, SAMPLE)
    after = conv.weight.detach()
    assert after.isfinite().all()
    assert not torch.equal(after[0], before[0])
    assert torch.equal(after[1], after[0])
    assert torch.equal(after[2], before[2])


def test_gradient_is_that_of_unquantised_weights_at_the_rounded_point() -> None:
    network = small_network().eval()
    image = torch.randn(2, 3, 8, 8)
    quantise_weights(network, SAMPLE)
    network(image).square().sum().backward()
    through = [parameter.grad for _, m in synapses(network) for parameter in m.parameters()]
    bake_weights(network)
    network.zero_grad()
    network(image).square().sum().backward()
    plain = [parameter.grad for _, m in synapses(network) for parameter in m.parameters()]
    by_shape = {tensor.shape: tensor for tensor in plain if tensor is not None}
    assert len(through) == len(plain) == len(by_shape) == 5
    for gradient in through:
        assert gradient is not None
        assert gradient.any()
        assert torch.equal(gradient, by_shape[gradient.shape])


def test_batch_norms_stay_frozen_until_baked() -> None:
    network = small_network()
    norms = [module for module in network if isinstance(module, Norm)]
    before = deepcopy([norm.state_dict() for norm in norms])
    quantise_weights(network, SAMPLE)
    network.train()(torch.randn(4, 3, 8, 8)).sum().backward()
    assert network.training
    for norm, state in zip(norms, before, strict=True):
        assert not norm.training
        assert norm.weight.grad is norm.bias.grad is None
        assert all(torch.equal(tensor, state[name]) for name, tensor in norm.state_dict().items())
    bake_weights(network)
    assert all(norm.training and norm.weight.requires_grad for norm in norms)
    network(torch.randn(4, 3, 8, 8))
    assert norms[0].num_batches_tracked == 1


def test_tuning_learns_and_state_is_restored() -> None:
    network = small_network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    quantise_weights(network, SAMPLE)
    image, target = torch.randn(16, 3, 8, 8), torch.randn(16, 2, 1)
    losses = []
    for _ in range(10):
        loss = (network.train()(image) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    latent = deepcopy(network.state_dict())
    tuned = network(image)
    bake_weights(network)
    assert torch.equal(network.eval()(image), tuned)
    quantise_weights(network, SAMPLE)
    network.load_state_dict(latent)
    assert torch.equal(network(image), tuned)


def test_fast_depthwise_gradient_goes_straight_through(monkeypatch: pytest.MonkeyPatch) -> None:
    # Compiling the loops takes longer than running them as they are.
    loops = depthwise_gradient._weight_gradient_loops
    monkeypatch.setattr(depthwise_gradient, "_weight_gradient", loops)
    torch.manual_seed(2)
    plain = nn.Sequential(nn.Conv2d(3, 3, 7, padding=3, groups=3, bias=False), nn.BatchNorm2d(3))
    fast = deepcopy(plain)
    use_fast_depthwise_gradient(fast)
    image = torch.randn(2, 3, 8, 8)
    gradients, outputs = [], []
    for network in (plain, fast):
        quantise_weights(network, SAMPLE)
        output = network(image)
        output.square().sum().backward()
        gradients.append(next(p.grad for p in network.parameters() if p.grad is not None))
        outputs.append(output)
    assert torch.equal(outputs[0], outputs[1])
    torch.testing.assert_close(gradients[0], gradients[1])
