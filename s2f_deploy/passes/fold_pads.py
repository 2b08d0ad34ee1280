"""Padding moves into the convolutions that read it."""

from dataclasses import replace

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.graph import Graph, Node


def fold_pads(graph: Graph) -> Graph:
    """Let every convolution pad for itself what was padded by zeros before it.

    Requires and gives a FLOAT graph whose norms are folded; ensures that no pad is left.

    Raises:
        UnsupportedPatternError: something else than a convolution reads the zeros.
    """
    consumers = graph.consumers()
    nodes: dict[str, Node] = {}
    for original in graph.nodes:
        node = original
        source = nodes.get(node.inputs[0]) if node.inputs else None
        if source is not None and source.op == "pad":
            if node.op not in ("conv2d", "pad"):
                raise UnsupportedPatternError(
                    f"{node.op} {node.name} reads what {source.name} pads",
                    where=source.origin,
                    fix="pad in front of convolutions, or of a norm in front of them",
                )
            both = zip(source["padding"], node["padding"], strict=True)
            node = replace(node, inputs=source.inputs).with_attributes(
                padding=tuple(a + b for a, b in both)
            )
        nodes[node.name] = node
    kept = {name: node for name, node in nodes.items() if node.op != "pad" or not consumers[name]}
    return graph.rebuilt(kept)
