"""Integer weights need sampling offsets on a grid."""

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.graph import Graph


def rounded_offsets(graph: Graph) -> Graph:
    """The graph as it is, if all its samplings round their offsets.

    Raises:
        UnsupportedPatternError: one reads between pixels where no integer could say.
    """
    for node in graph.select("deformable_sample"):
        if not node["bits"]:
            raise UnsupportedPatternError(
                f"{node.name} takes its offsets as they are: integers cannot",
                where=node.origin,
                fix="export the network with offsets rounded to some fraction bits "
                "(offset_bits=8 changes little, 4 is enough for a network trained with them), or "
                "with --weights float32",
            )
    return graph
