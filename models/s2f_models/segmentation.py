"""From what the queries of a Spike2Former say to a class for every pixel.

In float, as upstream does it: a host's work, not a chip's.

Source: Cheng et al. 2021 (MaskFormer), arXiv:2107.06278.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from s2f_models.spike2former import Spike2Former


def class_scores(
    class_logits: Tensor,
    mask_logits: Tensor,
    size: tuple[int, int],
    live_classes: int | None = None,
) -> Tensor:
    """How much every class is at every pixel: its queries' masks, weighted by their certainty.

    Args:
        class_logits: float[B, Q, classes + 1], the last for "no object".
        mask_logits: float[B, Q, h, w].
        size: rows and columns of the image as the network saw it, padding included.
        live_classes: how many of the first classes to score, if not all.

    Returns:
        float[B, classes, *size].
    """
    masks = F.interpolate(mask_logits, size, mode="bilinear", align_corners=False).sigmoid()
    classes = class_logits.softmax(-1)[..., :-1][..., :live_classes]
    # A matrix product, so that whoever counts products of an exported network sees them.
    scores = classes.transpose(1, 2) @ masks.flatten(2)
    return scores.reshape(*scores.shape[:2], *size)


class PixelClassifier(nn.Module):
    """A Spike2Former that goes on to the scores of the data set's classes at every pixel.

    It shares the network's modules, and has them under the same names.

    Args:
        network: whose queries are asked.
    """

    def __init__(self, network: Spike2Former) -> None:
        super().__init__()
        self.live_classes = network.config.live_classes
        self.backbone, self.decode_head = network.backbone, network.decode_head

    def forward(self, image: Tensor) -> Tensor:
        """float[B, in_channels, H, W], normalised -> float[B, classes, H, W]."""
        classes, masks = self.decode_head(self.backbone(image), all_layers=False)
        rows, columns = image.shape[-2:]
        return class_scores(classes, masks, (rows, columns), self.live_classes)


def segment(
    scores: Tensor,
    unpadded: tuple[int, int],
    size: tuple[int, int],
    live_classes: int | None = None,
) -> Tensor:
    """The class with the highest score at every pixel of the image as it was.

    Args:
        scores: float[B, classes, H, W], of the image as the network saw it.
        unpadded: rows and columns of it that are image; the rest, below and right, is padding.
        size: rows and columns of the image before it was resized.
        live_classes: how many of the first classes the data set has, if not all.

    Returns:
        int64[B, *size].
    """
    rows, columns = unpadded
    live = scores[:, :live_classes, :rows, :columns]
    resized = F.interpolate(live, size, mode="bilinear", align_corners=False)
    return resized.argmax(1)
