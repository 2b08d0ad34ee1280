"""The head of Spike2Former: queries become classes and masks (SDME).

Module names are upstream's, so that published weights load as they are.

Source: Lei et al. 2025, arXiv:2412.14587.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2f_models.mask_decoder import MaskDecoderConfig, TransformerDecoder, fire_by_token
from s2f_models.neuron import IntegerFire
from s2f_models.pixel_decoder import PixelDecoder
from s2f_models.position_encoding import sine_encoding

_LEVELS = 3
_WEIGHT_SPREAD = 0.02


class MaskHeadConfig(MaskDecoderConfig, Protocol):
    """What the head takes from the configuration of the network."""

    @property
    def num_classes(self) -> int:
        """Besides "no object"."""

    @property
    def num_queries(self) -> int:
        """Masks that the network proposes."""

    @property
    def last_neuron(self) -> Callable[[], IntegerFire]:
        """Constructor of the neurons behind the decoder, whose values are larger."""

    @property
    def binary_neuron(self) -> Callable[[], IntegerFire]:
        """The same with one level."""


class TokenLinear(nn.Linear):
    """A fully connected layer on every token, stored as one and computed as a convolution."""

    def forward(self, tokens: Tensor) -> Tensor:
        """float[B, C, N] -> float[B, C', N]."""
        return F.conv1d(tokens, self.weight[:, :, None], self.bias)


def _small(linear: nn.Linear) -> nn.Linear:
    nn.init.normal_(linear.weight, std=_WEIGHT_SPREAD)
    nn.init.zeros_(linear.bias)
    return linear


class MaskEmbedding(nn.Module):
    """Three fully connected layers with neurons between them, on tokens of spikes."""

    def __init__(self, config: MaskHeadConfig) -> None:
        super().__init__()
        channels = config.channels
        self.fc1 = TokenLinear(channels, channels, bias=False)
        self.spike1 = config.last_neuron()
        self.fc2 = TokenLinear(channels, channels, bias=False)
        self.spike2 = config.last_neuron()
        self.fc_out = _small(TokenLinear(channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """float[B, C, Q] -> the same shape."""
        x = fire_by_token(self.spike1, self.fc1(tokens))
        x = fire_by_token(self.spike2, self.fc2(x))
        y: Tensor = self.fc_out(x)
        return y


class MaskHead(nn.Module):
    """Everything behind the backbone.

    Args:
        config: of the network.
        widths: channels of the backbone's four maps, the finest first.
    """

    def __init__(self, config: MaskHeadConfig, widths: Sequence[int]) -> None:
        super().__init__()
        channels, queries = config.channels, config.num_queries
        self.w = nn.Parameter(torch.ones(1))
        self.pixel_decoder = PixelDecoder(config, widths)
        self.transformer_decoder = TransformerDecoder(config)
        self.query_embed = nn.Embedding(queries, channels)
        self.query_feat = nn.Embedding(queries, channels)
        self.level_embed = nn.Embedding(_LEVELS, channels)
        self.decoder_out_spike = config.binary_neuron()
        self.cls_embed = _small(TokenLinear(channels, config.num_classes + 1))
        self.mask_embed = MaskEmbedding(config)
        self.shortcut_conv_spike = config.binary_neuron()
        self.shortcut_conv = nn.Sequential(
            nn.Conv1d(queries, queries, 1, bias=False), nn.BatchNorm1d(queries)
        )
        self.mask_embed_spike = config.last_neuron()

    def forward(self, maps: Sequence[Tensor], *, all_layers: bool) -> tuple[Tensor, Tensor]:
        """Classes and masks of the queries behind the last decoder layer, or behind all of them.

        Args:
            maps: of the backbone, the finest first.
            all_layers: whether to include the queries before and behind every layer, which only
                training reads.

        Returns:
            Class logits float[B, Q, classes + 1], the last for "no object", and mask logits
            float[B, Q, H, W] of the finest map's size; of all layers stacked in front.
        """
        levels, features = self.pixel_decoder(maps)
        queries = self._decode(levels)
        if not all_layers:
            classes, embedding = self._embed(queries[-1])
            return classes, _masks(embedding, features)
        classes, embedding = self._embed(torch.cat(queries))
        masks = [_masks(part, features) for part in embedding.chunk(len(queries))]
        return torch.stack(classes.chunk(len(queries))), torch.stack(masks)

    def _decode(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """The queries before the first decoder layer and behind every one, float[B, C, Q] each."""
        query = self.query_feat.weight.t().expand(len(levels[0]), -1, -1)
        tokens = [
            level.flatten(2) + self.level_embed.weight[i][:, None] for i, level in enumerate(levels)
        ]
        positions = [
            sine_encoding(level.shape[2], level.shape[3], level.shape[1], level).flatten(1)
            for level in levels
        ]
        decoded: list[Tensor] = self.transformer_decoder(
            query, self.query_embed.weight.t(), tokens, positions
        )
        return decoded

    def _embed(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Queries float[B, C, Q] -> class logits float[B, Q, K + 1], spikes float[B, Q, C]."""
        membrane = self._before_sign(query).transpose(1, 2)
        spikes = self.decoder_out_spike(membrane).transpose(1, 2)
        classes = self.cls_embed(spikes).transpose(1, 2)
        embedded = self.mask_embed(spikes).transpose(1, 2)
        # Mixes queries: they are the channels of this convolution.
        shortcut = self.shortcut_conv(self.shortcut_conv_spike(membrane))
        fired: Tensor = self.mask_embed_spike(embedded + self.w * shortcut)
        return classes, fired

    def _before_sign(self, query: Tensor) -> Tensor:
        """What a neuron of one level turns into 1 where the query is positive, else into 0.

        Upstream takes the sigmoid, which the gradient needs; a half in place of it gives the same
        count without a transcendental function.
        """
        return query.sigmoid() if self.training else query + 0.5


def _masks(embedding: Tensor, features: Tensor) -> Tensor:
    """Spikes float[B, Q, C] x features float[B, C, H, W] -> float[B, Q, H, W]."""
    batch, _, height, width = features.shape
    return (embedding @ features.flatten(2)).reshape(batch, -1, height, width)
