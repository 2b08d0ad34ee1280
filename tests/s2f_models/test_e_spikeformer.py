import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden_weights import fill_golden, golden_image, read_golden

from s2f_models import ESpikeFormer, ESpikeFormerConfig, create, record_counts

GOLDEN_RUNS = {
    "base_t_64": "e_spikeformer_t",
    "base_s_96": "e_spikeformer_s",
    "base_m_224": "e_spikeformer_m",
}
SMALL = ESpikeFormerConfig((8, 8, 16, 16), depths=(1, 1), num_heads=4, num_classes=5)


@pytest.mark.parametrize(("golden", "name"), GOLDEN_RUNS.items())
def test_network_is_the_published_one(golden: str, name: str) -> None:
    record, arrays = read_golden("e_spikeformer", golden)
    model = create(name)
    shapes = [[key, list(tensor.shape)] for key, tensor in model.state_dict().items()]
    assert shapes == record["state_dict"]

    fill_golden(model, record["gain"])
    image = torch.from_numpy(golden_image(tuple(record["input"]["shape"]), record["input"]["seed"]))
    with torch.inference_mode(), record_counts(model) as counts:
        output = model(image)

    np.testing.assert_allclose(output.numpy(), arrays["output"], rtol=0, atol=1e-9)
    digests = {
        path: hashlib.sha256(count.contiguous().numpy().tobytes()).hexdigest()
        for path, count in counts.items()
    }
    assert len(digests) == 105
    assert list(digests.items()) == [(n["path"], n["sha256"]) for n in record["neurons"]]
    assert [list(c.shape) for c in counts.values()] == [n["shape"] for n in record["neurons"]]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("e_spikeformer_t", 2_702_048),
        ("e_spikeformer_s", 5_105_608),
        ("e_spikeformer_m", 10_023_112),
        ("e_spikeformer_l", 18_987_504),
    ],
)
def test_sizes_are_the_published_ones(name: str, parameters: int) -> None:
    with torch.device("meta"):
        model = create(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_strides_set_the_resolution() -> None:
    image = torch.zeros(1, 3, 32, 32)
    sizes = []
    for strides in ((2, 2, 2, 2, 1), (1, 2, 2, 2, 1), (1, 1, 2, 1, 2)):
        model = ESpikeFormer(replace(SMALL, strides=strides)).eval()
        with torch.inference_mode(), record_counts(model) as counts:
            assert model(image).shape == (1, 5)
        sizes.append(counts["block4.0.attn.head_spike"].shape[-1])
    assert sizes == [2, 4, 8]


def test_samples_of_a_batch_do_not_interact() -> None:
    model = ESpikeFormer(SMALL)
    fill_golden(model)
    images = torch.from_numpy(golden_image((3, 3, 32, 32)))
    with torch.inference_mode():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_network_trains() -> None:
    model = ESpikeFormer(SMALL)
    model(torch.from_numpy(golden_image((2, 3, 32, 32))).float()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"embed_dims": (9, 8, 16, 16)}, "must be even"),
        ({"num_heads": 5}, "does not divide by 5 heads"),
    ],
)
def test_impossible_widths_are_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **config)  # type: ignore[arg-type]
