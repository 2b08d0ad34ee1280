import pytest
import torch
from torch import Tensor, nn

from s2f_models import IntegerFire, record_counts
from s2f_models.neuron import spike_counts


class TwoNeurons(nn.Module):
    """Fires ``late`` before ``early``, and ``early`` twice."""

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self.early = IntegerFire(levels, norm=levels)
        self.late = IntegerFire(levels, norm=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.early(self.early(self.late(x)) + x)
        return y


X = torch.tensor([[[0.4, 1.5]], [[2.6, 7.0]]])


def test_counts_are_recorded_in_firing_order() -> None:
    model = TwoNeurons()
    with record_counts(model) as counts:
        model(X)
    assert list(counts) == ["late", "early", "early#2"]
    assert all(count.dtype is torch.uint8 and count.shape == X.shape for count in counts.values())
    late = spike_counts(X, 4, "half_even")
    assert torch.equal(counts["late"], late.to(torch.uint8))
    assert torch.equal(counts["early#2"], ((late / 4 + X).clamp(0, 4)).round().to(torch.uint8))


def test_second_run_is_numbered_on() -> None:
    model = TwoNeurons()
    with record_counts(model) as counts:
        model(X)
        model(X + 1)
    assert list(counts) == ["late", "early", "early#2", "late#2", "early#3", "early#4"]
    assert torch.equal(counts["late#2"], (X + 1).clamp(0, 4).round().to(torch.uint8))


def test_many_levels_do_not_overflow() -> None:
    neuron = IntegerFire(300, norm=1)
    with record_counts(neuron) as counts:
        neuron(torch.tensor([299.0]))
    assert counts[""].item() == 299
    assert counts[""].dtype is torch.int32


def test_contexts_nest() -> None:
    model = TwoNeurons()
    with record_counts(model) as outer:
        model(X)
        with record_counts(model) as inner:
            model(X)
        model(X)
    assert list(inner) == ["late", "early", "early#2"]
    assert len(outer) == 9
    assert torch.equal(inner["late"], outer["late#2"])


def test_observers_are_restored_after_an_exception() -> None:
    model = TwoNeurons()
    seen: list[Tensor] = []
    model.late.observer = seen.append
    with pytest.raises(RuntimeError, match="shape"), record_counts(model) as counts:
        model(X.reshape(5, 5))
    assert model.early.observer is None
    model(X)
    assert len(seen) == 1
    assert not counts


def test_recording_does_not_change_the_output_or_its_gradient() -> None:
    model = TwoNeurons()
    x = X.clone().requires_grad_()
    plain = model(x)
    with record_counts(model) as counts:
        recorded = model(x)
    assert torch.equal(plain, recorded)
    assert recorded.requires_grad
    assert not counts["late"].requires_grad
