"""The transformer decoder of Spike2Former: queries look at maps and at each other.

Tokens are ``[B, C, N]``, as convolutions take them; neurons see them as ``[B, N, C]``, because that
is the order in which upstream's fire. Module names are upstream's, so that published weights load
as they are.

Source: Lei et al. 2025, arXiv:2412.14587; Cheng et al. 2022 (Mask2Former), arXiv:2112.01527.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from s2f_models.neuron import IntegerFire
from s2f_models.pixel_decoder import PixelDecoderConfig
from s2f_models.reread import Reread


class MaskDecoderConfig(PixelDecoderConfig, Protocol):
    """What the decoder takes from the configuration of the network."""

    @property
    def num_heads(self) -> int:
        """Of every attention."""

    @property
    def decoder_layers(self) -> int:
        """Layers that refine the queries."""

    @property
    def decoder_hidden(self) -> int:
        """Channels in the middle of a layer's MLP."""


def token_conv_norm(channels: int) -> nn.Sequential:
    """1x1 convolution over tokens with bias, then batch norm."""
    conv = nn.Conv1d(channels, channels, 1)
    nn.init.xavier_uniform_(conv.weight)
    return nn.Sequential(conv, nn.BatchNorm1d(channels))


def fire_by_token(neuron: IntegerFire, tokens: Tensor) -> Tensor:
    """float[B, C, N] -> counts / norm, the same shape; the neuron sees [B, N, C]."""
    fired: Tensor = neuron(tokens.transpose(1, 2))
    return fired.transpose(1, 2)


class TokenAttention(nn.Module):
    """``(q kᵀ) v / sqrt(channels)`` of counts, without softmax, between projections."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        # Of the full width, not of a head.
        self.divisor = config.channels**0.5
        self.q_conv_spike, self.q_spike = config.neuron(), config.neuron()
        self.k_conv_spike, self.k_spike = config.neuron(), config.neuron()
        self.v_conv_spike, self.v_spike = config.neuron(), config.neuron()
        self.attn_spike = config.neuron()
        self.q_conv = token_conv_norm(config.channels)
        self.k_conv = token_conv_norm(config.channels)
        self.v_conv = token_conv_norm(config.channels)
        self.out_conv = token_conv_norm(config.channels)

    def split_heads(self, tokens: Tensor) -> Tensor:
        """float[B, C, N] -> float[B, heads, N, C / heads]."""
        batch, channels, count = tokens.shape
        by_head = tokens.reshape(batch, self.num_heads, channels // self.num_heads, count)
        return by_head.transpose(2, 3)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """float[B, C, Q], float[B, C, N] twice -> float[B, C, Q]."""
        # All of one operand first, then all of the next: upstream's firing order.
        q = self.q_conv(fire_by_token(self.q_conv_spike, query))
        q = self.split_heads(fire_by_token(self.q_spike, q))
        k = self.k_conv(fire_by_token(self.k_conv_spike, key))
        k = self.split_heads(fire_by_token(self.k_spike, k))
        v = self.v_conv(fire_by_token(self.v_conv_spike, value))
        v = self.split_heads(fire_by_token(self.v_spike, v))
        attended = (q @ k.transpose(2, 3)) @ v / self.divisor
        attended = attended.transpose(2, 3).flatten(1, 2)
        y: Tensor = self.out_conv(fire_by_token(self.attn_spike, attended))
        return y


class AttentionBlock(nn.Module):
    """A ``TokenAttention`` where upstream's names have it, one level deeper."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        self.attn = TokenAttention(config)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """As ``TokenAttention``."""
        y: Tensor = self.attn(query, key, value)
        return y


class TokenMLP(nn.Module):
    """Two 1x1 convolutions over tokens with biases, between two rereads."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        channels, hidden = config.channels, config.decoder_hidden
        self.fc1_spike = config.neuron()
        self.reread_input = Reread()
        self.fc1 = nn.Conv1d(channels, hidden, 1)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.fc2_spike = config.neuron()
        self.fc2 = nn.Conv1d(hidden, channels, 1)
        self.bn2 = nn.BatchNorm1d(channels)
        self.reread_output = Reread()
        for conv in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(conv.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """float[B, C, Q] -> the same shape."""
        x = self.reread_input(self.fc1_spike(tokens.transpose(1, 2)))
        x = self.bn2(self.fc2(self.fc2_spike(self.bn1(self.fc1(x)))))
        y: Tensor = self.reread_output(x)
        return y.transpose(1, 2)


class DecoderLayer(nn.Module):
    """Cross-attention to one level, self-attention, MLP, each added to the queries."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        self.self_attn = AttentionBlock(config)
        self.cross_attn = AttentionBlock(config)
        self.ffn = TokenMLP(config)

    def forward(
        self, query: Tensor, query_position: Tensor, level: Tensor, level_position: Tensor
    ) -> Tensor:
        """float[B, C, Q], float[C, Q], float[B, C, N], float[C, N] -> float[B, C, Q]."""
        placed = query + query_position
        query = query + self.cross_attn(placed, level + level_position, level)
        placed = query + query_position
        query = query + self.self_attn(placed, placed, query)
        y: Tensor = query + self.ffn(query)
        return y


class TransformerDecoder(nn.Module):
    """Layers that look at the levels in turn, the coarsest first."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([DecoderLayer(config) for _ in range(config.decoder_layers)])

    def forward(
        self,
        query: Tensor,
        query_position: Tensor,
        levels: Sequence[Tensor],
        positions: Sequence[Tensor],
    ) -> list[Tensor]:
        """The queries before the first layer and behind every one, float[B, C, Q] each."""
        queries = [query]
        for i, layer in enumerate(self.layers):
            level = i % len(levels)
            queries.append(layer(queries[-1], query_position, levels[level], positions[level]))
        return queries
