from dataclasses import replace
from typing import Any

import pytest
import torch
from spike2former_golden import (
    TINY,
    assert_recorded,
    digests,
    entries_digest,
    fill,
    let_fire,
    read_record,
    recorded_config,
    recorded_image,
)
from torch import Tensor, nn

from s2f_models import IntegerFire, ModelError, Spike2Former, Spike2FormerConfig, create
from s2f_models.deformable_sampling import DeformableSample
from s2f_models.recording import record_counts
from s2f_models.segmentation import class_scores, segment


def built(config: Spike2FormerConfig) -> Spike2Former:
    with torch.device("meta"):
        return config.build()


@pytest.mark.parametrize(
    "golden", ["v2_d4", "v2_d4_odd", "v2_d8", "v2_d8_t2", "v3_d4", "v3_d8", "ade20k_sdtv2_d4"]
)
def test_network_is_the_official_one(golden: str) -> None:
    """Every count and every output; upstream's T = 2 is T = 1 twice."""
    record = read_record(golden)
    model = built(recorded_config(record))
    assert entries_digest(model) == record["state_dict"]
    parts = (model.backbone, model.decode_head)
    assert [sum(p.numel() for p in part.parameters()) for part in parts] == record["parameters"]

    fill(model, record)
    image = recorded_image(record)
    with torch.inference_mode(), record_counts(model) as counts:
        classes, masks = model(image, all_layers=True)
    timesteps = record["config"]["T"]
    assert digests(counts, len(classes), len(image), timesteps) == record["neurons"]
    assert_recorded(classes, record, "class_logits")
    assert_recorded(masks, record, "mask_logits")

    height, width = image.shape[2:]
    scores = class_scores(classes[-1], masks[-1], (height, width))
    assert_recorded(scores, record, "seg_scores")
    assert_recorded(scores.argmax(1), record, "seg_map")
    if "original" in record:
        rows, columns = record["original"]
        drawn = segment(scores, (height, width), (rows, columns))
        assert_recorded(drawn, record, "seg_map_resized")


@pytest.mark.parametrize("golden", ["v2_d4", "v3_d8"])
def test_last_layer_is_what_inference_gives(golden: str) -> None:
    record = read_record(golden)
    model = built(recorded_config(record))
    fill(model, record)
    with torch.inference_mode():
        everything = model(recorded_image(record), all_layers=True)
        last = model(recorded_image(record))
    for found, stacked in zip(last, everything, strict=True):
        torch.testing.assert_close(found, stacked[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "parameters", "entries"),
    [
        (
            "spike2former_ade20k",
            34_361_112,
            "a67b8640871a58d090d9173d742f90563b2a6f5c4eb6032867404dead9bfa2ed",
        ),
        (
            "spike2former_ade20k_v3",
            38_236_408,
            "028dec3fd7e81bb45f83bbd11d199e04dceb275b0027f124aeab2fe9dbab3cbc",
        ),
        (
            "spike2former_ade20k_large",
            42_364_432,
            "dac9695db3700a1d0f8f8b5d2bf29719a35abe3896f46dbb3107e6304668c7a0",
        ),
        (
            "spike2former_cityscapes",
            37_491_605,
            "90ff4f50da4113675d4eac339bb90b7992e4dfeccca46d8a1fb65141f953548a",
        ),
        ("spike2former_voc", 34_361_112, None),
        ("spike2former_voc_v3", 38_236_408, None),
        ("spike2former_cityscapes_v3", 38_202_741, None),
        ("spike2former_cocostuff", 34_366_509, None),
    ],
)
def test_sizes_are_the_published_ones(name: str, parameters: int, entries: str | None) -> None:
    with torch.device("meta"):
        model = create(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert entries in (None, entries_digest(model))


@pytest.mark.parametrize(
    ("name", "changes", "behind", "before"),
    [
        ("spike2former_ade20k", {}, {(4, 4.0), (4, 1.0), (1, 1.0)}, {(4, 4.0)}),
        ("spike2former_ade20k", {"D": 8}, {(8, 8.0), (8, 2.0), (1, 2.0)}, {(8, 8.0)}),
        ("spike2former_ade20k", {"D": 4, "norm": 8}, {(4, 8.0), (4, 2.0), (1, 2.0)}, {(4, 8.0)}),
        ("spike2former_ade20k_v3", {"D": 8}, {(8, 8.0), (8, 2.0), (1, 2.0)}, {(4, 4.0)}),
    ],
)
def test_every_neuron_has_the_asked_levels_and_norm(
    name: str, changes: dict[str, int], behind: set[Any], before: set[Any]
) -> None:
    with torch.device("meta"):
        model = create(name, D=changes.get("D"), norm=changes.get("norm"))
    assert isinstance(model, Spike2Former)

    def kinds(part: nn.Module) -> set[tuple[int, float]]:
        return {(f.levels, f.norm) for f in part.modules() if isinstance(f, IntegerFire)}

    assert (kinds(model.decode_head), kinds(model.backbone)) == (behind, before)


def test_offsets_are_rounded_as_asked() -> None:
    with torch.device("meta"):
        model = create("spike2former_ade20k", offset_bits=8)
    samplers = [m for m in model.modules() if isinstance(m, DeformableSample)]
    assert {(m.groups, m.kernel, m.bits) for m in samplers} == {(32, 3, 8)}
    assert len(samplers) == 6


def test_more_time_steps_are_refused_with_the_reason() -> None:
    with pytest.raises(ModelError, match="has no T to choose: more time steps only repeat"):
        create("spike2former_ade20k", T=4)
    with torch.device("meta"):
        assert create("spike2former_ade20k", T=1).config.timesteps == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": 18},
        {"num_heads": 3},
        {"groups": 5},
        {"live_classes": 0},
        {"live_classes": 3},
        {"offset_bits": 17},
        {"offset_bits": -1},
        {"embed_dims": (7, 8, 8, 16)},
        {"embed_dims": (8, 8, 9, 16)},
    ],
)
def test_impossible_configuration_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"divide|alive|offset_bits|even"):
        built(replace(TINY, **changes))


def test_samples_of_a_batch_do_not_interact() -> None:
    model = TINY.build().double()
    let_fire(model)
    images = torch.randn(3, 3, 32, 48, dtype=torch.float64)
    with torch.inference_mode():
        together = model(images, all_layers=True)
        alone = [model(image[None], all_layers=True) for image in images]
    for found, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(found, torch.cat(parts, 1), rtol=0, atol=1e-11)


def test_network_says_as_much_in_training_as_in_evaluation() -> None:
    """The sigmoid of training and the comparator of evaluation are one function."""
    model = TINY.build().double()
    let_fire(model)
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        evaluated = model(image)
        model.decode_head.training = True
        trained = model(image)
    for found, wanted in zip(trained, evaluated, strict=True):
        assert torch.equal(found, wanted)


def test_network_trains() -> None:
    model = TINY.build()
    let_fire(model)
    classes, masks = model.train()(torch.randn(2, 3, 32, 32), all_layers=True)
    assert classes.shape == (3, 2, 5, 4)
    assert masks.shape == (3, 2, 5, 16, 16)
    torch.autograd.backward(classes.square().mean() + masks.square().mean())
    assert all(parameter.grad is not None for parameter in model.parameters())
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert "decode_head.pixel_decoder.encoder.layers.0.dcn.offset.0.weight" in moved
    assert "decode_head.query_feat.weight" in moved
    assert "backbone.downsample1_1.encode_conv.weight" in moved


def test_fresh_network_attends_to_nothing_at_first() -> None:
    """As the recipe has it: residual branches of the encoder are nearly off, sampling wholly."""
    model = TINY.build()
    state = model.state_dict()
    prefix = "decode_head.pixel_decoder.encoder.layers.0."
    assert {state[f"{prefix}gamma{i}"].unique().item() for i in (1, 2, 3)} == {
        torch.tensor(1e-6).item()
    }
    for branch in ("offset", "mask"):
        assert not state[f"{prefix}dcn.{branch}.0.weight"].any()
        assert not state[f"{prefix}dcn.{branch}.0.bias"].any()
    assert state["decode_head.w"].tolist() == [1.0]


def test_rounded_offsets_change_the_answer_a_little() -> None:
    """Every further bit brings counts closer to those of offsets as they are."""
    record = read_record("v2_d4")
    path = "decode_head.pixel_decoder.encoder.layers.0.dcn.output_proj.spike1"

    def behind_sampler(bits: int) -> Tensor:
        model = built(replace(recorded_config(record), offset_bits=bits))
        fill(model, record)
        with torch.inference_mode(), record_counts(model) as counts:
            model(recorded_image(record))
        return counts[path]

    exact = behind_sampler(0)
    changed = [int((behind_sampler(bits) != exact).sum()) for bits in (1, 4, 16)]
    assert changed[0] > changed[1] > changed[2] == 0
