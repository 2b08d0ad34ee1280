"""What does not change in time is computed once."""

from dataclasses import replace

from s2f_deploy.ir.graph import Graph, Node
from s2f_deploy.ops import OPS


def repeat_late(graph: Graph) -> Graph:
    """Repeat an image for all timesteps only where something else that changes meets it.

    The encoding layer then multiplies once, not once per timestep. Requires and gives a FLOAT
    graph.
    """
    nodes: dict[str, Node] = {}
    constant: dict[str, str] = {}
    repeats: dict[str, Node] = {}

    def at_all_steps(name: str) -> str:
        if name not in constant:
            return name
        repeated = repeats[name]
        nodes.setdefault(repeated.name, repeated)
        return repeated.name

    for node in graph.nodes:
        if node.op == "repeat":
            constant[node.name], repeats[node.name] = node.inputs[0], node
        elif _commutes(node) and node.inputs and constant.keys() >= set(node.inputs):
            once = replace(node.output, steps=1)
            inputs = tuple(constant[name] for name in node.inputs)
            nodes[node.name] = replace(node, inputs=inputs, output=once)
            constant[node.name] = node.name
            repeats[node.name] = replace(
                repeats[node.inputs[0]],
                name=f"{node.name}.repeated",
                inputs=(node.name,),
                output=node.output,
                origin=node.origin,
            )
        else:
            nodes[node.name] = replace(node, inputs=tuple(map(at_all_steps, node.inputs)))
    return graph.rebuilt(nodes)


def _commutes(node: Node) -> bool:
    return not OPS[node.op].couples_time and node.op not in ("output", "host")
