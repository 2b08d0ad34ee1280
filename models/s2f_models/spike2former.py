"""Spike2Former: semantic segmentation with integer neurons; queries propose classes and masks.

One time step: published networks of T > 1 repeat the image, and their neurons keep nothing from
one time step to the next, so every time step gives the same bits.

Source: Lei et al. 2025, arXiv:2412.14587.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor, nn

from s2f_models.deformable_sampling import MAX_BITS
from s2f_models.mask_head import MaskHead
from s2f_models.meta_spikeformer import BackboneConfig, sdtv2, sdtv3
from s2f_models.neuron import IntegerFire

BackboneKind = Literal["sdtv2", "sdtv3"]

# Upstream's SDTv3 has a constant of its own for both.
_SDTV3_LEVELS = 4
# What upstream multiplies values by behind the decoder: with Norm = 4 they are plain counts.
_ALPHA = 4


@dataclass(frozen=True, slots=True)
class Spike2FormerConfig:
    """Everything that fixes the network besides its weights.

    Attributes:
        backbone: ``"sdtv2"`` is Meta-SpikeFormer, ``"sdtv3"`` E-SpikeFormer.
        embed_dims: channels of the backbone's stages; the finest map has half of the first.
        depths: transformer blocks of the backbone's last two stages.
        num_heads: of every attention.
        in_channels: of the image.
        num_classes: outputs, "no object" not counted.
        live_classes: outputs that the data set has, if fewer; the others are dead.
        num_queries: masks that the network proposes.
        channels: of everything behind the backbone.
        groups: of channels that are sampled at the same positions.
        mlp_ratio: hidden channels for each channel in the encoder's MLP.
        encoder_layers: of the pixel decoder.
        decoder_layers: of the transformer decoder.
        decoder_hidden: channels in the middle of its MLP.
        levels: ``D`` of every neuron, but of an SDTv3 backbone, where it is 4.
        norm: ``Norm`` of these neurons; by default ``levels``.
        offset_bits: fraction bits that sampling offsets are rounded to; 0 for as they are.
    """

    backbone: BackboneKind = "sdtv2"
    embed_dims: tuple[int, int, int, int] = (64, 128, 256, 360)
    depths: tuple[int, int] = (6, 2)
    num_heads: int = 8
    in_channels: int = 3
    num_classes: int = 150
    live_classes: int | None = None
    num_queries: int = 100
    channels: int = 256
    groups: int = 32
    mlp_ratio: int = 4
    encoder_layers: int = 6
    decoder_layers: int = 6
    decoder_hidden: int = 2048
    levels: int = 4
    norm: int | None = None
    offset_bits: int = 0

    task: ClassVar[str] = "segmentation"
    timesteps: ClassVar[int] = 1
    # The entry of a state dict whose first axis is the classes and "no object".
    class_entry: ClassVar[str] = "decode_head.cls_embed.weight"
    why_absent: ClassVar[Mapping[str, str]] = {
        "timesteps": "more time steps only repeat the image: its neurons keep nothing from one to "
        "the next, and T = 1 gives the same bits"
    }

    def __post_init__(self) -> None:
        if self.channels % self.num_heads or self.channels % self.groups or self.channels % 4:
            raise ValueError(
                f"{self.channels} channels do not divide by 4, by {self.num_heads} heads and by "
                f"{self.groups} groups"
            )
        if self.live_classes is not None and not 1 <= self.live_classes < self.num_classes:
            raise ValueError(f"{self.live_classes} of {self.num_classes} classes cannot be alive")
        if not 0 <= self.offset_bits <= MAX_BITS:
            raise ValueError(f"offset_bits is {self.offset_bits}, but it must be 0 to {MAX_BITS}")

    @property
    def named_classes(self) -> int:
        """Outputs that a data set has names for."""
        return self.num_classes if self.live_classes is None else self.live_classes

    @property
    def divisor(self) -> int:
        """``Norm`` of every neuron but those of an SDTv3 backbone."""
        return self.levels if self.norm is None else self.norm

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the backbone's downsampling convolutions."""
        return self.backbone_config.strides

    @property
    def neuron(self) -> partial[IntegerFire]:
        """Constructor of the neurons behind the backbone."""
        return partial(IntegerFire, self.levels, self.divisor)

    @property
    def last_neuron(self) -> partial[IntegerFire]:
        """The same behind the decoder, where values are multiplied by a constant."""
        return partial(IntegerFire, self.levels, self.divisor / _ALPHA)

    @property
    def binary_neuron(self) -> partial[IntegerFire]:
        """The same for what is at most 1."""
        return partial(IntegerFire, 1, self.divisor / _ALPHA)

    @property
    def backbone_config(self) -> BackboneConfig:
        """Of the part that reads the image."""
        own = self.backbone == "sdtv3"
        return BackboneConfig(
            self.embed_dims,
            self.depths,
            self.num_heads,
            in_channels=self.in_channels,
            levels=_SDTV3_LEVELS if own else self.levels,
            norm=_SDTV3_LEVELS if own else self.divisor,
        )

    def input_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Of one sample, ``(1, C, H, W)``."""
        return (1, self.in_channels, height, width)

    def build(self) -> "Spike2Former":
        """A freshly initialised network."""
        return Spike2Former(self)


class Spike2Former(nn.Module):
    """The whole network: an image in, a class and a mask for every query out."""

    # Of the exported network.
    output_names: ClassVar[tuple[str, ...]] = ("class_logits", "mask_logits")

    def __init__(self, config: Spike2FormerConfig) -> None:
        super().__init__()
        self.config = config
        build = sdtv2 if config.backbone == "sdtv2" else sdtv3
        self.backbone = build(config.backbone_config)
        # Behind the four downsamplings; the last two stages share a size, and one map.
        c0, c1, _, c3 = config.embed_dims
        self.decode_head = MaskHead(config, (c0 // 2, c0, c1, c3))

    def forward(self, image: Tensor, *, all_layers: bool = False) -> tuple[Tensor, Tensor]:
        """What the queries say; ``segmentation`` turns it into classes of pixels.

        Args:
            image: float[B, in_channels, H, W], normalised.
            all_layers: whether to return what the queries before and behind every decoder layer
                say, stacked in front, instead of behind the last one.

        Returns:
            Class logits float[B, Q, num_classes + 1], the last for "no object", and mask logits
            float[B, Q, H / 2, W / 2].
        """
        logits: tuple[Tensor, Tensor] = self.decode_head(
            self.backbone(image), all_layers=all_layers
        )
        return logits
