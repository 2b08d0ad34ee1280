"""The parts of a Spike2Former: which layer belongs where, what it multiplies, what is published.

Source: ``spike2former.md`` sections 12 and 14; Lei et al. 2025, arXiv:2412.14587.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from s2f_deploy.ir.graph import Graph
from s2f_deploy.ops import OPS
from s2f_sim import Run
from s2f_sim.published_rates import Rate, energy_of_rates
from s2f_sim.shown_counts import populations

# By the layer's name, the first that fits; names of attentions end where others go on.
PATTERNS: Mapping[str, str] = {
    "first convolution": r"backbone\.downsample1_1\.",
    "other downsampling": r"backbone\.downsample",
    "convolution stages": r"backbone\.ConvBlock",
    "backbone attention": r"backbone\.block\d\.\d+\.attn(_\d+)?$",
    "transformer stages": r"backbone\.block",
    "encoder projections": r"decode_head\.pixel_decoder\.encoder_(in|out)_proj",
    "sampler": r"decode_head\.pixel_decoder\.encoder\.layers\.\d+\.dcn\.sampler",
    "encoder scale (gamma)": r"decode_head\.pixel_decoder\.encoder\.layers\.\d+(/Mul.*)?$",
    "encoder convolutions": r"decode_head\.pixel_decoder\.encoder\.layers",
    "feature pyramid": r"decode_head\.pixel_decoder\.(lateral|output)_convs",
    "bilinear upsampling": r"decode_head\.pixel_decoder/Resize",
    "decoder attention": r"decode_head\.transformer_decoder.*_attn\.attn(_\d+)?$",
    "transformer decoder": r"decode_head\.transformer_decoder",
    "queries x mask features": r"decode_head(\.mask_feature|_\d+)?$",
    "class and mask embedding": r"decode_head\.(cls_embed|mask_embed|shortcut_conv)",
    "host": r"",
}
PARTS = tuple(PATTERNS)
# Million products at 512 x 512, SDTv2, as the spec's section 14 counts them.
CENSUS_MAC: Mapping[str, float] = {
    "first convolution": 308,
    "other downsampling": 1_755,
    "convolution stages": 20_812,
    "backbone attention": 167,
    "transformer stages": 10_772,
    "encoder projections": 161,
    "sampler": 56.6,
    "encoder convolutions": 9_637,
    "feature pyramid": 1_138,
    "bilinear upsampling": 88,
    "decoder attention": 357 + 31,
    "transformer decoder": 6_502,
    # Upstream's mask_feature convolution, 4,295, and the product for one of seven layers.
    "queries x mask features": 4_295 + 1_678,
    "class and mask embedding": round(183 / 7, 1),
    "host": 3_932 + 105,
}
CENSUS_MAC_V3 = {**CENSUS_MAC, "backbone attention": 668, "transformer stages": 14_739}
# All convolutions and linear layers of SDTv2, SDME for all seven layers as upstream evaluates it.
CONVOLUTIONS_AND_LINEAR = 55_564e6
AC_PJ, MAC_PJ = 0.9, 4.6
# mJ as printed: ADE20K, Cityscapes, VOC2012 by real and virtual timesteps, COCO panoptic.
PRINTED_MJ = {
    "ADE20K 1x4": 68.0,
    "Cityscapes 1x4": 93.8,
    "VOC2012 1x1": 60.2,
    "VOC2012 1x2": 50.6,
    "VOC2012 1x4": 63.0,
    "VOC2012 1x8": 66.9,
    "VOC2012 2x2": 98.3,
    "VOC2012 2x4": 117.4,
    "VOC2012 4x4": 221.9,
    "COCO panoptic 1x4": 222.6,
}
# The dense networks beside it: printed GFLOPs, printed mJ.
PRINTED_DENSE = {"53": 243.8, "71": 326.6, "74": 340.4, "55": 253.0}


def part_of(name: str, kind: str = "") -> str:
    """The part that a layer belongs to.

    >>> part_of("backbone.block3.0.attn"), part_of("backbone.block3.0.attn.q_conv.0.body.2.1")
    ('backbone attention', 'transformer stages')
    """
    if kind == "host":
        return "host"
    return next(part for part, pattern in PATTERNS.items() if re.match(pattern, name))


def dense_macs(graph: Graph) -> Counter[str]:
    """Products of the network as trained, a FLOAT graph, by part; padding included.

    Of attention those of q (kᵀ v), whatever the order in which the file has it.
    """
    found: Counter[str] = Counter()
    nodes = graph.by_name()
    for node in graph.nodes:
        op = OPS[node.op]
        if op.padded_macs is not None and node.op != "affine":
            types = [nodes[name].output for name in node.inputs]
            counted = node.with_attributes(association="q_kv") if node.op == "attention" else node
            found[part_of(node.name)] += op.padded_macs(counted, types, graph.arrays(node))
        elif node.op == "host":
            found["host"] += node["macs"]
    return found


def left_products(run: Run) -> list[tuple[str, str, int]]:
    """Layer, kind and number of all products that were made."""
    return [(layer.name, layer.kind, layer.mac) for layer in run.layers if layer.mac]


def at_published_mean(graph: Graph) -> dict[str, float]:
    """What the mean count of 68.0 mJ, if all neurons had it, would cost the network as deployed."""
    first = CENSUS_MAC["first convolution"] * 1e6
    spent = PRINTED_MJ["ADE20K 1x4"] * 1e9 - MAC_PJ * first
    mean = spent / (AC_PJ * (CONVOLUTIONS_AND_LINEAR - first))
    bill = energy_of_rates(graph, [Rate(node.name, mean, None) for node in populations(graph)])
    return {"mean_count": mean, "synops": bill.synops, "mj": bill.energy_pj / 1e9}


def published() -> dict[str, Any]:
    """What the printed energies say, by the paper's own formula.

    E = 0.9 pJ · T · D · R · products, where T · D · R is the mean count of a neuron over all real
    timesteps. Its rates are not published, so only their mean, weighted by products, can be found,
    and that only where the images are as large as here.
    """
    mj, macs = PRINTED_MJ["ADE20K 1x4"], CONVOLUTIONS_AND_LINEAR
    first = CENSUS_MAC["first convolution"] * 1e6
    square = [row for row in PRINTED_MJ if row.startswith(("ADE20K", "VOC2012"))]
    return {
        "mJ, printed": PRINTED_MJ,
        "dense mJ, printed": PRINTED_DENSE,
        "dense mJ, recounted": {g: round(float(g) * MAC_PJ, 1) for g in PRINTED_DENSE},
        "dense mJ / 68.0 mJ": {g: round(dense / mj, 3) for g, dense in PRINTED_DENSE.items()},
        "most additions in 68.0 mJ": round(mj * 1e9 / AC_PJ),
        "mean count, all products as additions": {
            row: round(PRINTED_MJ[row] * 1e9 / (AC_PJ * macs), 3) for row in square
        },
        "mean count, first convolution multiplied": {
            row: round((PRINTED_MJ[row] * 1e9 - MAC_PJ * first) / (AC_PJ * (macs - first)), 3)
            for row in square
        },
    }
