"""The reference runs of the official Spike2Former code as what is exported and lowered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from golden_weights import golden_image
from numpy.typing import NDArray
from spike2former_golden import digests, fill, recorded_config, recorded_image
from torch import Tensor, nn

from s2f_models import Spike2FormerConfig
from s2f_models.mask_decoder import DecoderLayer
from s2f_models.pixel_decoder import DeformableAttention, EncoderLayer
from s2f_models.recording import record_counts

Counts = Mapping[str, NDArray[np.uint8]]
Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class GoldenCase:
    """A float64 module with golden weights, one input, and what the official code makes of it.

    Attributes:
        model: of one input; the same object for every input that it takes.
        sample: float64[1, ...].
        counts: of every neuron, by its path in the official code, laid out as there; of the last
            stage where a head is evaluated for all stages of a decoder. Empty if offsets are
            rounded, which the official code does not.
    """

    model: nn.Module
    sample: Tensor
    counts: Counts


class KnownQueries(nn.Module):
    """A decoder layer that reads an image's tokens; everything else is held."""

    def __init__(self, layer: DecoderLayer, query: Tensor, places: list[Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("query", query)
        self.register_buffer("query_place", places[0])
        self.register_buffer("key_place", places[1])

    def forward(self, key: Tensor) -> Tensor:
        """float[1, C, N] -> the queries after the layer."""
        result: Tensor = self.layer(self.query, self.query_place, key, self.key_place)
        return result


def golden_cases(name: str, record: Record, offset_bits: int = 0) -> list[GoldenCase]:
    """Every input of a reference run.

    Args:
        name: of the run; those of single modules are called after them, all others are networks.
        record: as `read_record` gives it.
        offset_bits: fraction bits of the sampler's offsets; 0: as they are.
    """
    build = {"sdda": _sdda, "encoder_layer": _encoder_layer, "decoder_layer": _decoder_layer}
    return build.get(name, _network)(record, offset_bits)


def _network(record: Record, offset_bits: int) -> list[GoldenCase]:
    model = replace(recorded_config(record), offset_bits=offset_bits).build()
    fill(model, record)
    images = recorded_image(record)
    counts: list[Counts] = [{}] * len(images)
    if not offset_bits:
        with torch.inference_mode(), record_counts(model) as fired:
            classes, _ = model(images, all_layers=True)
        timesteps = record["config"]["T"]
        assert digests(fired, len(classes), len(images), timesteps) == record["neurons"]
        counts = _by_input(fired, len(images))
    return [GoldenCase(model, x[None], c) for x, c in zip(images, counts, strict=True)]


def _module(
    record: Record, model: nn.Module, inputs: tuple[Tensor, ...], offset_bits: int
) -> list[Counts]:
    """Fill a module; what its neurons emit, if the official code's do."""
    fill(model, record)
    with torch.inference_mode(), record_counts(model) as fired:
        model(*inputs)
    if offset_bits:
        return [{}] * len(inputs[0])
    assert digests(fired, batch=len(inputs[0])) == record["neurons"]
    return _by_input(fired, len(inputs[0]))


def _of_planes(make: Callable[[Spike2FormerConfig], nn.Module], record: Record,
               config: Spike2FormerConfig) -> list[GoldenCase]:  # fmt: skip
    given, model = record["input"], make(config)
    planes = torch.from_numpy(golden_image(tuple(given["image_shape"]), given["seed"]))
    inputs = given["scale"] * planes
    counts = _module(record, model, (inputs,), config.offset_bits)
    return [GoldenCase(model, x[None], c) for x, c in zip(inputs, counts, strict=True)]


def _sdda(record: Record, offset_bits: int) -> list[GoldenCase]:
    config = Spike2FormerConfig(channels=32, groups=4, levels=8, offset_bits=offset_bits)
    return _of_planes(DeformableAttention, record, config)


def _encoder_layer(record: Record, offset_bits: int) -> list[GoldenCase]:
    config = Spike2FormerConfig(
        channels=24, groups=3, num_heads=3, mlp_ratio=3, levels=8, offset_bits=offset_bits
    )
    return _of_planes(EncoderLayer, record, config)


def _decoder_layer(record: Record, offset_bits: int) -> list[GoldenCase]:
    """Samples nothing; its queries differ from input to input."""
    said, given = record["config"], record["input"]
    channels, tokens = said["channels"], (said["queries"], said["keys"])
    layer = DecoderLayer(
        Spike2FormerConfig(
            channels=channels, groups=3, num_heads=3, decoder_hidden=said["ffn"], levels=8
        )
    )
    seed, images = given["seed"], given["B"]
    query, key = (
        given["scale"] * torch.from_numpy(golden_image((images, n, channels), seed + i)).mT
        for i, n in enumerate(tokens)
    )
    places = [
        torch.from_numpy(golden_image((n, channels), seed + i)).mT for i, n in enumerate(tokens, 2)
    ]
    counts = _module(record, layer, (query, places[0], key, places[1]), offset_bits)
    return [
        GoldenCase(KnownQueries(layer, q[None], places).double().eval(), k[None], c)
        for q, k, c in zip(query, key, counts, strict=True)
    ]


def _by_input(fired: dict[str, Tensor], inputs: int) -> list[Counts]:
    """Counts of the last stage, by input."""
    return [
        {path: x.reshape(-1, inputs, *x.shape[1:])[-1, i].numpy() for path, x in fired.items()}
        for i in range(inputs)
    ]


def laid_out(official: Counts, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    """The official counts as a graph has them, under its names.

    Tokens may lie in rows or in columns. Where there are as many as channels, no shape tells: they
    lie as those of the same layers elsewhere in the network, where other levels have other sizes.

    Args:
        official: by path in the official code.
        shapes: of the graph's counts, by name; a single module's perhaps in something larger.
    """
    names = {path: path if path in shapes else f"layer.{path}" for path in official}
    tokens = {path: x for path, x in official.items() if x.ndim == 2}
    turned = {path for path, x in tokens.items() if x.shape == shapes[names[path]][::-1]}
    square = {path for path in turned if official[path].shape == shapes[names[path]]}
    kinds = {_kind(path) for path in turned - square}
    turned -= {path for path in square if _kind(path) not in kinds}
    return {
        names[path]: (x.T if path in turned else x).reshape(shapes[names[path]])
        for path, x in official.items()
    }


def _kind(path: str) -> str:
    """A path without the numbers of its layers."""
    return ".".join("*" if part.isdecimal() else part for part in path.split("."))


def differing(shown: Counts, official: Counts) -> dict[str, int]:
    """How many counts differ in each neuron layer in which any does.

    Args:
        shown: of a lowered network, as `shown_counts` gives them.
        official: the official code's.
    """
    wanted = laid_out(official, {name: counts.shape for name, counts in shown.items()})
    wrong = {name: int(np.count_nonzero(shown[name] != counts)) for name, counts in wanted.items()}
    return {name: count for name, count in wrong.items() if count}
