"""Single modules of the official network, and what they are made of."""

import numpy as np
import pytest
import torch
from golden_weights import golden_image
from spike2former_golden import FOLDER, Neurons, digests, entries_digest, fill, read_record
from torch import Tensor, nn

from s2f_models import IntegerFire, Spike2FormerConfig
from s2f_models.mask_decoder import DecoderLayer
from s2f_models.meta_spikeformer import BackboneConfig, RepAttention, sdtv2, sdtv3
from s2f_models.pixel_decoder import DeformableAttention, EncoderLayer
from s2f_models.position_encoding import sine_encoding
from s2f_models.recording import record_counts
from s2f_models.reread import Reread


def assert_array(found: Tensor, record: dict[str, object], name: str) -> None:
    arrays = record["arrays"]
    assert isinstance(arrays, list)
    wanted = arrays[0][name]
    assert list(found.shape) == wanted["shape"]
    np.testing.assert_allclose(found.sum().item(), wanted["sum"], rtol=0, atol=1e-9)
    flat = found.flatten()
    for index, value in wanted["samples"]:
        assert abs(flat[index].item() - value) < 1e-9


def run(model: nn.Module, *inputs: Tensor) -> tuple[Tensor, Neurons]:
    with torch.inference_mode(), record_counts(model) as counts:
        result = model(*inputs)
    return result, digests(counts, batch=2)


def doubled(shape: list[int], seed: int) -> Tensor:
    return 2 * torch.from_numpy(golden_image(tuple(shape), seed))


def test_deformable_attention_is_the_official_one() -> None:
    record = read_record("sdda")
    model = DeformableAttention(Spike2FormerConfig(channels=32, groups=4, levels=8))
    assert entries_digest(model) == record["state_dict"]
    fill(model, record)
    seen: dict[str, Tensor] = {}

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> None:
        projected, offset, mask = inputs
        seen["projected"], seen["sampled"] = (x.permute(0, 2, 3, 1) for x in (projected, result))
        seen["offset"], seen["mask_int"] = offset, mask * 8

    model.sampler.register_forward_hook(keep)
    result, neurons = run(model, doubled(record["input"]["image_shape"], 0))
    assert neurons == record["neurons"]
    assert_array(result.permute(0, 2, 3, 1)[None], record, "output")
    for name, value in seen.items():
        assert_array(value, record, name)


def test_encoder_layer_is_the_official_one() -> None:
    record = read_record("encoder_layer")
    config = Spike2FormerConfig(channels=24, groups=3, num_heads=3, mlp_ratio=3, levels=8)
    model = EncoderLayer(config)
    assert entries_digest(model) == record["state_dict"]
    fill(model, record)
    result, neurons = run(model, doubled(record["input"]["image_shape"], 1))
    assert neurons == record["neurons"]
    assert_array(result.permute(0, 2, 3, 1)[None], record, "output")


def test_decoder_layer_is_the_official_one() -> None:
    record = read_record("decoder_layer")
    config = Spike2FormerConfig(channels=24, groups=3, num_heads=3, decoder_hidden=80, levels=8)
    model = DecoderLayer(config)
    assert entries_digest(model) == record["state_dict"]
    fill(model, record)
    query, key = (doubled([2, n, 24], seed).transpose(1, 2) for n, seed in ((18, 2), (40, 3)))
    places = [torch.from_numpy(golden_image((n, 24), seed)).t() for n, seed in ((18, 4), (40, 5))]
    result, neurons = run(model, query, places[0], key, places[1])
    assert neurons == record["neurons"]
    assert_array(result.transpose(1, 2)[None], record, "output")


def test_position_encoding_is_the_official_one() -> None:
    with np.load(FOLDER / "sine_pe.npz") as arrays:
        wanted = torch.from_numpy(arrays["output"][0])
    channels, height, width = wanted.shape
    found = sine_encoding(height, width, channels, wanted)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14)
    assert sine_encoding(height, width, channels, wanted.float()).dtype == torch.float32


@pytest.mark.parametrize("tag", ["d8", "d4", "d2", "d1", "d1_norm4"])
def test_neuron_is_the_official_one(tag: str) -> None:
    levels, _, norm = tag.removeprefix("d").partition("_norm")
    neuron = IntegerFire(int(levels), int(norm or levels))
    with np.load(FOLDER / "neuron.npz") as arrays:
        fired = neuron(torch.from_numpy(arrays["x"]))
        assert torch.equal(fired, torch.from_numpy(arrays[f"value_{tag}"]))


def test_reread_is_no_transposition() -> None:
    """Element (h, w, j) of the result is element (hW + w)A + j of the source, row-major."""
    x = torch.arange(2 * 4 * 3 * 5).reshape(2, 4, 3, 5)
    found = Reread()(x)
    for b, h, w, j in np.ndindex(2, 3, 5, 4):
        channel, pixel = divmod((h * 5 + w) * 4 + j, 15)
        assert found[b, h, w, j] == x[b, channel, pixel // 5, pixel % 5]
    assert torch.equal(Reread()(found.transpose(1, 2)).flatten(1), found.transpose(1, 2).flatten(1))


def test_backbones_have_the_published_sizes() -> None:
    with torch.device("meta"):
        config = BackboneConfig((64, 128, 256, 360))
        sizes = [sum(p.numel() for p in build(config).parameters()) for build in (sdtv2, sdtv3)]
    assert sizes == [14_751_208, 18_626_504]


def test_backbone_gives_maps_of_sides_rounded_up() -> None:
    model = sdtv2(BackboneConfig((8, 12, 16, 24), (1, 1), num_heads=4)).eval()
    maps = model(torch.randn(2, 3, 75, 101))
    assert [tuple(x.shape) for x in maps] == [
        (2, 4, 38, 51),
        (2, 8, 19, 26),
        (2, 12, 10, 13),
        (2, 24, 5, 7),
    ]


def test_linear_chains_have_the_published_epsilon() -> None:
    attention = RepAttention(BackboneConfig((8, 8, 8, 8), num_heads=2), 8)
    norms = [m for m in attention.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 12
    assert {(m.eps, m.momentum) for m in norms} == {(1e-5, 0.1)}
