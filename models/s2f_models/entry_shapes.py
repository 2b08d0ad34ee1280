"""Shapes of a state dict's entries, checked before anything is built from them."""

import re
from collections.abc import Mapping

from s2f_models.stand_in import RefusedError

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

# The name of a network that is not in the registry.
CUSTOM = "custom"
# Wider than any published network by far; keeps a made-up file from asking for absurd layers.
_MAX_WIDTH = 1 << 16
# Likewise deeper; a name for each would be all that such a file needs.
_MAX_BLOCKS = 64
READABLE = (
    "give an E-SpikeFormer classification checkpoint (SDT-V3, Model_Base), a SpikeYOLO or a "
    "Spike2Former checkpoint as the official code saved it"
)


def sizes(shapes: Shapes, name: str, axes: int, family: str) -> Shape:
    """The shape of an entry that every network of a family has.

    Raises:
        RefusedError: there is none, or it has no sensible shape.
    """
    if name not in shapes:
        raise RefusedError(f"the file has no entry {name}, so this is no {family}", READABLE)
    shape = shapes[name]
    if len(shape) != axes or not all(1 <= size <= _MAX_WIDTH for size in shape):
        raise RefusedError(
            f"{name} has shape {shape}, expected {axes} axes of 1 to {_MAX_WIDTH:,}", READABLE
        )
    return shape


def depth(shapes: Shapes, stage: str) -> int:
    """Blocks of a stage; a gap in the numbers shows as missing entries later.

    Raises:
        RefusedError: there are more than in any network.
    """
    block = re.compile(re.escape(stage) + r"\.([0-9]{1,3})\.")
    matches = (block.match(name) for name in shapes)
    blocks = len({match[1] for match in matches if match})
    if blocks > _MAX_BLOCKS:
        raise RefusedError(f"{stage} has {blocks} blocks, expected at most {_MAX_BLOCKS}", READABLE)
    return blocks
