from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import s2f_deploy
import s2f_sim
from s2f_models import EventClassifier, EventClassifierConfig, IntegerFire, create
from s2f_models.recording import record_counts

SMALL = EventClassifierConfig((6, 8), (2, 2), (1, 0), (10, 11), num_classes=3)


def lively(config: EventClassifierConfig) -> EventClassifier:
    """A network all of whose neurons have something to fire at."""
    generator = torch.Generator().manual_seed(0)
    model = config.build().eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0, 0.3, generator)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 1.2, generator)
            nn.init.normal_(module.bias, 0.3, 0.5, generator)
    return model


def recorded(config: EventClassifierConfig, seed: int, batch: int = 1) -> Tensor:
    """Frames of counts, some of them at the limit."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.6, (batch, *config.input_shape(11, 10)[1:]))
    return torch.from_numpy(np.minimum(counts, config.levels)).float()


def test_registered_network() -> None:
    model = create("event_classifier_nmnist")
    assert isinstance(model, EventClassifier)
    assert model.config.input_shape(34, 34) == (1, 3, 2, 34, 34)
    assert sum(p.numel() for p in model.parameters()) < 100_000
    fires = [module for module in model.modules() if isinstance(module, IntegerFire)]
    assert {(fire.levels, fire.timesteps, fire.norm) for fire in fires} == {(4, 3, 1.0)}
    changed = create("event_classifier_nmnist", T=1, D=2, num_classes=5).eval()
    assert changed.config.input_shape(34, 34) == (1, 2, 34, 34)
    assert changed(torch.zeros(2, 2, 34, 34)).shape == (2, 5)


def test_frames_enter_the_first_convolution_as_they_are() -> None:
    model, x = lively(SMALL), recorded(SMALL, 1)
    with torch.inference_mode(), record_counts(model) as counts:
        model(x)
    assert x.max() == SMALL.levels
    assert torch.equal(next(iter(counts.values())).float(), x[0])


def test_each_recording_of_a_batch_is_seen_alone() -> None:
    model, x = lively(SMALL), recorded(SMALL, 2, batch=3)
    with torch.inference_mode():
        together = model(x)
        alone = torch.cat([model(one[None]) for one in x])
    assert together.shape == (3, 3)
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_neurons_remember_the_frames_before() -> None:
    """Without memory the mean over time would not depend on the order."""
    x = recorded(SMALL, 3)
    forgetful = lively(SMALL)
    for module in forgetful.modules():
        if isinstance(module, IntegerFire):
            module.leak = 0.0
    with torch.inference_mode():
        assert torch.allclose(forgetful(x), forgetful(x.flip(1)), atol=1e-5)
        model = lively(SMALL)
        assert not torch.allclose(model(x), model(x.flip(1)), atol=1e-3)


def test_wrong_number_of_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="2 frames for a network of 3 time steps"):
        SMALL.build()(torch.zeros(1, 2, 2, 11, 10))


def test_frames_of_another_sensor_are_refused() -> None:
    with pytest.raises(ValueError, match="frames of 11x10 pixels for a network of 10x11 pixels"):
        SMALL.build()(torch.zeros(1, 3, 2, 10, 11))


def test_stages_must_be_complete() -> None:
    with pytest.raises(ValueError, match="2 widths, 1 strides and 2 depths"):
        replace(SMALL, strides=(2,))
    with pytest.raises(ValueError, match="0 widths"):
        EventClassifierConfig((), (), ())


@pytest.mark.parametrize("timesteps", [1, 3])
def test_nothing_is_multiplied(tmp_path: Path, timesteps: int) -> None:
    config = replace(SMALL, timesteps=timesteps)
    model, path = lively(config), tmp_path / "model.onnx"
    shape = config.input_shape(11, 10)
    s2f_deploy.export_onnx(model, shape, path)
    samples = [recorded(config, seed).reshape(shape).numpy() for seed in range(3)]
    as_trained = s2f_deploy.lower(path, "float32")
    integers = s2f_deploy.lower(path, "int8", calibration=np.concatenate(samples))
    for graph in (as_trained, integers):
        synapses = {node.op for node in graph.nodes if "conv" in node.op or "linear" in node.op}
        assert synapses == {"event_conv2d"}
        assert s2f_sim.verify(graph, samples).equivalent
        run = s2f_sim.simulate(graph, samples[0])
        # Not even for the mean over time, which the weights of the head take in.
        assert sum(layer.mac for layer in run.layers) == 0
        first = next(layer for layer in run.layers if layer.ac)
        assert first.spikes == samples[0].sum()
    with torch.inference_mode():
        expected = model(torch.from_numpy(samples[0])).numpy()
    logits = s2f_sim.simulate(as_trained, samples[0]).outputs["logits"]
    np.testing.assert_allclose(logits, expected, atol=1e-4)
