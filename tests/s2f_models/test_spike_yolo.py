import hashlib
import json
from dataclasses import replace

import pytest
import torch
from spike_yolo_golden import assert_predictions, digests, fill, read_record, recorded_input
from torch import Tensor, nn

from s2f_models import IntegerFire, SpikeYolo, SpikeYoloConfig, count_parameters, create
from s2f_models.detection_head import Detect
from s2f_models.recording import record_counts
from s2f_models.registry import find_config
from s2f_models.spike_yolo_blocks import LastConv


def yolo(name: str = "spike_yolo_n", **changes: object) -> SpikeYolo:
    """A network as narrow as can be."""
    model = create(name, **{"width": 0.0625, "num_classes": 3, **changes})  # type: ignore[arg-type]
    assert isinstance(model, SpikeYolo)
    return model


@pytest.mark.parametrize("golden", ["coco_n_128x96_T1", "coco_n_64x64_T4", "gen1_n_96x64_T2"])
def test_network_is_the_official_one(golden: str) -> None:
    record = read_record(golden)
    with torch.device("meta"):
        model = create(record["arch"], T=record["T"])
    assert isinstance(model, SpikeYolo)
    entries = [[name, list(x.shape)] for name, x in model.state_dict().items()]
    assert hashlib.sha256(json.dumps(entries).encode()).hexdigest() == record["state_dict"]
    assert sum(parameter.numel() for parameter in model.parameters()) == record["parameters"]

    fill(model, record["gain"])
    with torch.inference_mode(), record_counts(model) as counts:
        pred = model(recorded_input(record))
    assert digests(counts, record["T"]) == record["neurons"]
    assert_predictions(pred, record)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("spike_yolo_n", 13_271_632),
        ("spike_yolo_s", 23_153_024),
        ("spike_yolo_m", 47_841_856),
        ("spike_yolo_l", 68_478_400),
        ("spike_yolo_gen1_n", 6_124_470),
        ("spike_yolo_gen1_s", 23_122_838),
        ("spike_yolo_gen1_m", 66_172_438),
        ("spike_yolo_gen1_l", 143_395_414),
        ("spike_yolo_gen1_x", 223_520_694),
    ],
)
def test_sizes_are_the_published_ones(name: str, parameters: int) -> None:
    assert count_parameters(name) == parameters


@pytest.mark.parametrize(
    ("name", "parameters"), [("spike_yolo_m", 45_784_256), ("spike_yolo_l", 65_517_760)]
)
def test_ratio_of_the_table_is_used(name: str, parameters: int) -> None:
    config = find_config(name)
    assert isinstance(config, SpikeYoloConfig)
    rows = list(config.table)
    rows[25] = replace(rows[25], args=(1, 7))
    with torch.device("meta"):
        model = replace(config, table=tuple(rows)).build()
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "neurons"), [("spike_yolo_n", 88), ("spike_yolo_m", 108), ("spike_yolo_gen1_s", 88)]
)
def test_every_neuron_has_the_asked_levels_and_steps(name: str, neurons: int) -> None:
    with torch.device("meta"):
        model = create(name, D=8, T=3)
    fires = [module for module in model.modules() if isinstance(module, IntegerFire)]
    assert len(fires) == neurons
    leak = 0.5 if "gen1" in name else 0.25
    assert {(f.levels, f.norm, f.timesteps, f.leak) for f in fires} == {(8, 1.0, 3, leak)}


def test_norms_have_the_published_epsilon() -> None:
    norms = [m for m in yolo().modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.03)}


def test_padding_norm_is_the_same_in_training_and_evaluation() -> None:
    """In training the border is that of the running statistics, not of the batch's."""
    block = next(m for m in yolo().modules() if type(m).__name__ == "NormAndPad")
    norm = block.bn
    assert isinstance(norm, nn.BatchNorm2d)
    torch.nn.init.normal_(norm.bias)
    torch.nn.init.normal_(norm.weight)
    norm.momentum = 1.0
    x = torch.randn(64, norm.num_features, 6, 6)
    trained = block.train()(x)
    n = x.numel() // norm.num_features
    assert norm.running_var is not None
    # Batches are normalised by the biased variance, the running one is unbiased.
    norm.running_var *= (n - 1) / n
    torch.testing.assert_close(trained, block.eval()(x), rtol=1e-3, atol=1e-4)


def random_statistics(model: nn.Module) -> None:
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.05, 0.2)
            nn.init.normal_(module.bias, 0.3, 0.3)


@pytest.mark.parametrize("name", ["spike_yolo_n", "spike_yolo_gen1_n"])
def test_samples_of_a_batch_do_not_interact(name: str) -> None:
    model = yolo(name, T=2).double().eval()
    random_statistics(model)
    shape = (3, *model.config.input_shape(32, 64)[1:])
    images = torch.rand(shape, dtype=torch.float64)
    with torch.inference_mode():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    assert together.shape == (3, 7, 32 * 64 // 64 + 32 * 64 // 256 + 32 * 64 // 1024)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-11)


def test_image_is_the_same_frame_in_every_step() -> None:
    model = yolo("spike_yolo_gen1_n", T=3).eval()
    random_statistics(model)
    image = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        repeated = model(image[:, None].expand(-1, 3, -1, -1, -1))
        assert torch.equal(model(image), repeated)


def test_other_number_of_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="5 frames for a network of 2 time steps"):
        yolo("spike_yolo_gen1_n").eval()(torch.zeros(1, 5, 3, 32, 32))


def test_layer_without_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="has 1 channels, fewer than 4"):
        yolo(width=0.01)


def test_network_trains() -> None:
    model = yolo(T=2)
    (loss,) = [sum(x.square().mean() for x in model.maps(torch.rand(2, 3, 64, 64)))]
    assert isinstance(loss, Tensor)
    torch.autograd.backward(loss)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(learned) == len(list(model.parameters())) - 1
    assert all(parameter.grad is not None for parameter in learned)


def test_boxes_and_scores_are_decoded() -> None:
    """A map that says: 2 cells to the left, 3 up, 4 right, 5 down, class 1."""
    head = yolo().model[-1]
    maps = [torch.full((1, 67, h, h), -30.0) for h in (4, 2, 1)]
    for side, distance in enumerate((2, 3, 4, 5)):
        maps[1][0, 16 * side + distance, 1, 0] = 30.0
    maps[1][0, 64 + 1, 1, 0] = 30.0
    pred = head.decode(maps)  # type: ignore[operator]
    anchor = 16 + 2
    # Cell (0, 1) of stride 16: centre (8, 24); corners (-24, -24) and (72, 104).
    assert pred[0, :4, anchor].tolist() == pytest.approx([24, 40, 96, 128])
    assert pred[0, 4:, anchor].tolist() == pytest.approx([0, 1, 0])


def test_untrained_head_expects_what_it_is_told() -> None:
    model = yolo()
    head = model.model[-1]
    assert isinstance(head, Detect)
    head.expect(12, 64 * 64)
    for branch in (*head.cv2, *head.cv3):
        assert isinstance(branch, nn.Sequential)
        last = branch[-1]
        assert isinstance(last, LastConv)
        nn.init.zeros_(last.conv.weight)
    with torch.inference_mode():
        pred = model.eval()(torch.rand(1, 3, 64, 64))[0]
    # Sixteen cells of stride 16 share 12 objects of 3 classes: odds of a quarter.
    torch.testing.assert_close(pred[4:, 64:80], torch.full((3, 16), 0.2))
    assert pred[2:4, :64].mean().item() == pytest.approx(4 * 8, rel=0.1)
