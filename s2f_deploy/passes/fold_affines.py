"""Every constant scale and shift disappears: into weights, biases or a neuron's comparators."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.graph import Graph, Node

SYNAPSES = ("conv2d", "linear")


def fold_affines(graph: Graph) -> Graph:
    """Fold every affine, the first in topological order first.

    In this order of preference: into the convolution or linear layer that feeds it
    (weight' = scale · weight, bias' = scale · bias + shift); into the affine it feeds; into the
    neurons it feeds, which keep a positive scale and a shift for their comparators; into the
    weights it feeds, when it shifts nothing; through the residual sum that feeds it, into both
    branches. Reshapes between do not matter. Requires and gives a FLOAT graph; ensures that no
    affine is left but those that only the host or an output reads.

    Raises:
        UnsupportedPatternError: an affine has none of these neighbours to itself.
    """
    while True:
        folds = (_Fold(graph, affine) for affine in graph.select("affine"))
        found = next((fold for fold in folds if not fold.stays()), None)
        if found is None:
            return graph
        graph = found.folded()


@dataclass(frozen=True, slots=True)
class _Fold:
    graph: Graph
    affine: Node

    def stays(self) -> bool:
        """Whether this is a read-out that no weights precede: the host's own multiplication."""
        root, own = self._root()
        read = {node.op for node in self._readers()} <= {"output", "host"}
        return read and not (own and root.op in SYNAPSES)

    def folded(self) -> Graph:
        """The graph without this affine, or with two of them one step nearer the input."""
        root, own = self._root()
        readers = self._readers()
        fed = {node.op for node in readers}
        scale, shift = self.graph.arrays(self.affine)
        if own and root.op in SYNAPSES:
            return self._into_source(root, scale, shift)
        if fed == {"affine"}:
            return self._into_maps(readers, scale, shift)
        if fed == {"integer_fire"} and (scale > 0).all():
            return self._into_maps(readers, scale, shift)
        if fed and fed <= set(SYNAPSES) and not shift.any():
            return self._into_readers(readers, scale)
        if own and root.op == "add":
            return self._into_branches(root, scale, shift)
        raise UnsupportedPatternError(
            f"the scale of {self.affine.name} can be folded into nothing: it is fed by "
            f"{root.op} {root.name} and feeds {', '.join(sorted(fed)) or 'nothing'}",
            where=self.affine.origin,
            fix="scale directly behind a convolution, or (positively) before a neuron",
        )

    def _root(self) -> tuple[Node, bool]:
        """What computes the affine's input, and whether the affine alone reads it."""
        nodes, consumers = self.graph.by_name(), self.graph.consumers()
        source = nodes[self.affine.inputs[0]]
        own = len(consumers[source.name]) == 1
        while source.op == "reshape" and own:
            source = nodes[source.inputs[0]]
            own = len(consumers[source.name]) == 1
        return source, own

    def _readers(self) -> list[Node]:
        """Everything that reads the affine, reshapes looked through."""
        consumers = self.graph.consumers()
        waiting, found = list(consumers[self.affine.name]), []
        while waiting:
            node = waiting.pop()
            if node.op == "reshape":
                waiting += consumers[node.name]
            else:
                found.append(node)
        return found

    def _without_affine(self, changed: dict[str, Node], arrays: dict[str, NDArray[Any]]) -> Graph:
        source = self.affine.inputs[0]
        nodes: dict[str, Node] = {}
        for name, original in self.graph.by_name().items():
            if name == self.affine.name:
                continue
            node = changed.get(name, original)
            inputs = tuple(source if i == self.affine.name else i for i in node.inputs)
            output = node.output
            if node.op == "reshape":
                # Behind an attention, what was a scaled real value is now the integer itself.
                output = replace(nodes[inputs[0]].output, shape=output.shape)
            nodes[name] = replace(node, inputs=inputs, output=output)
        return self.graph.rebuilt(nodes, dict(self.graph.params) | arrays)

    def _into_source(self, synapse: Node, scale: NDArray[Any], shift: NDArray[Any]) -> Graph:
        weight, bias = self.graph.arrays(synapse)
        by_output = scale.reshape(-1, *[1] * (weight.ndim - 1))
        names = (f"{synapse.name}.folded_weight", f"{synapse.name}.folded_bias")
        by_channel = (vector.reshape(-1, *[1] * (bias.ndim - 1)) for vector in (scale, shift))
        bias_scale, bias_shift = by_channel
        arrays = dict(zip(names, (weight * by_output, bias * bias_scale + bias_shift), strict=True))
        return self._without_affine({synapse.name: replace(synapse, params=names)}, arrays)

    def _into_maps(self, readers: list[Node], scale: NDArray[Any], shift: NDArray[Any]) -> Graph:
        """Neurons and other affines have a scale and a shift of their own."""
        changed: dict[str, Node] = {}
        arrays: dict[str, NDArray[Any]] = {}
        for reader in readers:
            own_scale, own_shift = self.graph.arrays(reader) or (np.ones(1), np.zeros(1))
            names = (f"{reader.name}.scale", f"{reader.name}.shift")
            arrays |= {names[0]: scale * own_scale, names[1]: shift * own_scale + own_shift}
            changed[reader.name] = replace(reader, params=names)
        return self._without_affine(changed, arrays)

    def _into_readers(self, synapses: list[Node], scale: NDArray[Any]) -> Graph:
        changed: dict[str, Node] = {}
        arrays: dict[str, NDArray[Any]] = {}
        for synapse in synapses:
            weight = self.graph.params[synapse.params[0]]
            if scale.size > 1 and synapse.op == "conv2d" and synapse["groups"] > 1:
                raise UnsupportedPatternError(
                    f"{self.affine.name} scales the channels of the grouped {synapse.name}",
                    where=self.affine.origin,
                    fix="scale by one value, or directly behind a convolution",
                )
            name = f"{synapse.name}.weight_of_scaled"
            arrays[name] = weight * scale.reshape(1, -1, *[1] * (weight.ndim - 2))
            changed[synapse.name] = replace(synapse, params=(name, *synapse.params[1:]))
        return self._without_affine(changed, arrays)

    def _into_branches(self, total: Node, scale: NDArray[Any], shift: NDArray[Any]) -> Graph:
        """Scale · (a + b) + shift = (scale · a + shift) + scale · b."""
        nodes: dict[str, Node] = {}
        arrays = dict(self.graph.params)
        for name, node in self._without_affine({}, {}).by_name().items():
            if name != total.name:
                nodes[name] = node
                continue
            branches = []
            for i, moved in enumerate((shift, np.zeros(1))):
                branch = f"{total.name}.branch{i}"
                params = (f"{branch}.scale", f"{branch}.shift")
                arrays |= dict(zip(params, (scale, moved), strict=True))
                output = self.graph.node(total.inputs[i]).output
                nodes[branch] = Node(
                    branch, "affine", (total.inputs[i],), params, output, self.affine.origin
                )
                branches.append(branch)
            nodes[name] = replace(node, inputs=(branches[0], branches[1]))
        return self.graph.rebuilt(nodes, arrays)
