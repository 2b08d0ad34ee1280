"""Integer weights need shares of pixels on a grid."""

from s2f_deploy.ir.graph import Graph
from s2f_deploy.ops.bilinear_upsample import ROUNDED_BITS


def rounded_interpolation(graph: Graph) -> Graph:
    """Round the shares of interpolations whose ratio leaves none exact; others stay as they are.

    The float form of the deployed network states the rounded ones, so that any runtime repeats
    them. Requires and gives an INTEGER graph.

    Source: ``spike2former.md`` section 13, row 7.
    """
    nodes = {node.name: node for node in graph.nodes}
    for node in graph.select("bilinear_upsample"):
        if not node["bits"]:
            nodes[node.name] = node.with_attributes(bits=ROUNDED_BITS)
    return graph.rebuilt(nodes)
