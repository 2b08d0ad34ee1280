from typing import Any

import pytest
import torch

from s2f_models import ESpikeFormerConfig, create
from s2f_models.architecture import infer_config, match_entries
from s2f_models.registry import CONFIGS, Network
from s2f_models.stand_in import RefusedError
from s2f_models.state_dict import bare_name


def on_meta(name: str, **config: Any) -> Network:
    with torch.device("meta"):
        return create(name, **config)


def shapes_of(model: Network) -> dict[str, tuple[int, ...]]:
    """Names as the reader of state dicts hands them on."""
    return {bare_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}


CLASSIFIERS = [name for name, config in CONFIGS.items() if isinstance(config, ESpikeFormerConfig)]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_published_network_is_recognised(name: str) -> None:
    published = on_meta(name, num_classes=21)
    found, config, notices = infer_config(shapes_of(published))
    assert (found, config) == (name, published.config)
    assert bool(notices) == (name == "e_spikeformer_cifar10")


@pytest.mark.parametrize(
    "config",
    [
        {"embed_dims": (4, 6, 8, 16), "depths": (2, 0), "in_channels": 2},
        {"embed_dims": (4, 6, 16, 8), "depths": (1, 12)},
        {"in_channels": 2},
    ],
)
def test_everything_a_state_dict_shows_is_inferred(config: dict[str, Any]) -> None:
    model = on_meta("e_spikeformer_t", **config)
    assert infer_config(shapes_of(model))[:2] == ("custom", model.config)


def test_ratios_are_inferred() -> None:
    shapes = shapes_of(on_meta("e_spikeformer_t"))
    shapes["ConvBlock1_1.0.conv1.weight"] = (36, 12, 3, 3)
    shapes["block3.0.attn.v_conv.0.weight"] = (192, 96, 1, 1)
    _, config, _ = infer_config(shapes)
    assert isinstance(config, ESpikeFormerConfig)
    assert (config.mlp_ratio, config.value_ratio) == (3, 2)


@pytest.mark.parametrize("widths", [(4, 4, 8, 12), (4, 4, 20, 8)])
def test_widths_eight_heads_do_not_divide_need_a_name(
    widths: tuple[int, int, int, int],
) -> None:
    model = on_meta("e_spikeformer_t", embed_dims=widths, num_heads=4)
    with pytest.raises(RefusedError, match="does not divide by 8 heads"):
        infer_config(shapes_of(model))


@pytest.mark.parametrize(
    "name", ["spike_yolo_n", "spike_yolo_m", "spike_yolo_gen1_n", "spike_yolo_bccd"]
)
def test_published_detector_is_recognised(name: str) -> None:
    published = on_meta(name, num_classes=21)
    assert infer_config(shapes_of(published)) == (name, published.config, ())


def test_detector_of_two_families_needs_a_name() -> None:
    with pytest.raises(RefusedError, match="spike_yolo_s and spike_yolo_gen1_s, which have diff"):
        infer_config(shapes_of(on_meta("spike_yolo_s")))


def test_unpublished_detector_needs_its_layers() -> None:
    for model in (on_meta("spike_yolo_n", width=0.1), on_meta("spike_yolo_n", depth=0.6)):
        with pytest.raises(RefusedError, match="of no published SpikeYOLO") as caught:
            infer_config(shapes_of(model))
        assert "name it with arch" in caught.value.fix


def test_absurd_width_is_refused() -> None:
    shapes = shapes_of(on_meta("e_spikeformer_t"))
    shapes["downsample3.encode_conv.weight"] = (2**40, 48, 3, 3)
    with pytest.raises(RefusedError, match=r"downsample3\.encode_conv\.weight has shape"):
        infer_config(shapes)


def test_network_is_built_without_memory_for_weights() -> None:
    model = on_meta("e_spikeformer_l")
    built = match_entries(model.config, shapes_of(model))
    assert {tensor.device.type for tensor in built.state_dict().values()} == {"meta"}
