"""Every constant scale and shift disappears: into weights, biases or a neuron's comparators."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.graph import DType, Graph, Node
from s2f_deploy.ops import OPS
from s2f_deploy.ops.elementwise import per_channel
from s2f_deploy.ops.neuron import leak_shift
from s2f_deploy.passes.kept_affines import as_product, as_sum

SYNAPSES = ("conv2d", "linear")
LINEAR = ("reshape", "time_sum")
SAMPLING = ("bilinear_upsample", "deformable_sample")
MOVED_THROUGH = ("concat", "upsample", "max_pool", "rewire", *SAMPLING)


def fold_affines(graph: Graph) -> Graph:
    """Fold every affine, the first in topological order first.

    In this order of preference: into the convolution or linear layer that feeds it
    (weight' = scale · weight, bias' = scale · bias + shift); into the affine it feeds; into the
    neurons it feeds, which keep a positive scale and a shift for their comparators; into the
    weights it feeds, when it shifts nothing; through the residual sum that feeds it, into both
    branches; through the concatenation, upsampling or, if positive, max pooling that feeds it; into
    the weights and biases it feeds. Reshapes between do not matter. Requires and gives a FLOAT
    graph; ensures that no affine is left but those that only the host or an output reads. A shift
    that nothing takes becomes a constant that is added; a scale behind rewired channels stays a
    multiplication, an elementwise convolution.

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
        scale, shift = self.graph.arrays(self.affine)
        return (
            (self._into_arrays(root, scale, shift) if own else None)
            or self._forwards(scale, shift)
            or (self._backwards(root, scale, shift) if own else None)
            or self._into_biases(scale, shift)
            or self._kept(root, scale)
        )

    def _into_arrays(self, root: Node, scale: NDArray[Any], shift: NDArray[Any]) -> Graph | None:
        """Into the weights, or the constant, that the affine alone reads."""
        if root.op in SYNAPSES:
            return self._into_source(root, scale, shift)
        return self._into_constant(root, scale, shift) if root.op == "constant" else None

    def _forwards(self, scale: NDArray[Any], shift: NDArray[Any]) -> Graph | None:
        """Into neurons, other affines, or, without a shift, weights that read it."""
        readers = self._readers()
        fed = {node.op for node in readers}
        if fed == {"affine"}:
            return self._into_maps(readers, scale, shift)
        if fed == {"integer_fire"} and all(_takes(node, scale, shift) for node in readers):
            return self._into_maps(readers, scale, shift)
        if fed and fed <= set(SYNAPSES) and not shift.any():
            return self._into_readers(readers, scale, shift)
        if fed == {"integer_fire", "add"} and (scale == 1).all():
            return self._into_neurons_and_sums(readers, scale, shift)
        return None

    def _backwards(self, root: Node, scale: NDArray[Any], shift: NDArray[Any]) -> Graph | None:
        """Through the sum, or the wiring, that the affine alone reads."""
        if root.op == "add":
            return self._into_branches(root, scale, shift)
        if self._commutes(root, scale, shift):
            return self._through_wiring(root, scale, shift)
        return None

    def _into_biases(self, scale: NDArray[Any], shift: NDArray[Any]) -> Graph | None:
        """Into the weights and biases that read it."""
        readers = self._readers()
        fed = {node.op for node in readers}
        return self._into_readers(readers, scale, shift) if fed and fed <= set(SYNAPSES) else None

    def _kept(self, root: Node, scale: NDArray[Any]) -> Graph:
        """As an operation of its own, where no array can take it."""
        if (scale == 1).all():
            return as_sum(self.graph, self.affine)
        if root.op == "rewire":
            return as_product(self.graph, self.affine)
        fed = ", ".join(sorted({node.op for node in self._readers()})) or "nothing"
        raise UnsupportedPatternError(
            f"the scale of {self.affine.name} can be folded into nothing: it is fed by "
            f"{root.op} {root.name} and feeds {fed}",
            where=self.affine.origin,
            fix="scale directly behind a convolution, or (positively) before a neuron",
        )

    def _root(self) -> tuple[Node, bool]:
        """What computes the affine's input, and whether the affine alone reads it."""
        nodes, consumers = self.graph.by_name(), self.graph.consumers()
        source = nodes[self.affine.inputs[0]]
        own = len(consumers[source.name]) == 1
        seen_through = ("reshape",) if self.graph.arrays(self.affine)[1].any() else LINEAR
        while source.op in seen_through and own:
            source = nodes[source.inputs[0]]
            own = len(consumers[source.name]) == 1
        return source, own

    def _commutes(self, root: Node, scale: NDArray[Any], shift: NDArray[Any]) -> bool:
        """Whether what wires currents may as well wire them scaled and shifted."""
        real = root.output.dtype is DType.FLOAT32
        rising = root.op != "max_pool" or bool((scale > 0).all())
        mixed = {"rewire": max(scale.size, shift.size) > 1, "deformable_sample": shift.any()}
        return real and root.op in MOVED_THROUGH and rising and not mixed.get(root.op)

    def _readers(self) -> list[Node]:
        """Everything that reads the affine, reshapes seen through; by one factor, all wiring."""
        consumers = self.graph.consumers()
        one = all(vector.size == 1 for vector in self.graph.arrays(self.affine))
        seen_through = ("reshape", "repeat", "rewire") if one else ("reshape", "repeat")
        waiting, found = list(consumers[self.affine.name]), []
        while waiting:
            node = waiting.pop()
            if node.op in seen_through:
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
            if self.affine.name in node.inputs:
                inputs = tuple(source if i == self.affine.name else i for i in node.inputs)
                node = replace(node, inputs=inputs)
            if node.op in ("reshape", "rewire"):
                # Behind an attention, what was a scaled real value is now the integer itself.
                output = replace(nodes[node.inputs[0]].output, shape=node.output.shape)
                node = replace(node, output=output)
            nodes[name] = node
        return self.graph.rebuilt(nodes, dict(self.graph.params) | arrays)

    def _into_source(self, synapse: Node, scale: NDArray[Any], shift: NDArray[Any]) -> Graph:
        weight, bias = self.graph.arrays(synapse)
        by_output = scale.reshape(-1, *[1] * (weight.ndim - 1))
        names = (f"{synapse.name}.folded_weight", f"{synapse.name}.folded_bias")
        by_channel = (vector.reshape(-1, *[1] * (bias.ndim - 1)) for vector in (scale, shift))
        bias_scale, bias_shift = by_channel
        arrays = dict(zip(names, (weight * by_output, bias * bias_scale + bias_shift), strict=True))
        return self._without_affine({synapse.name: replace(synapse, params=names)}, arrays)

    def _into_constant(self, held: Node, scale: NDArray[Any], shift: NDArray[Any]) -> Graph:
        (values,) = self.graph.arrays(held)
        name = f"{held.name}.folded"
        arrays = {name: values * per_channel(scale, values) + per_channel(shift, values)}
        return self._without_affine({held.name: replace(held, params=(name,))}, arrays)

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

    def _into_neurons_and_sums(
        self, readers: list[Node], scale: NDArray[Any], shift: NDArray[Any]
    ) -> Graph | None:
        """A shift that neurons take, and that others only add to a constant of their own."""
        known, consumers = self.graph.by_name(), self.graph.consumers()
        added = [node for node in readers if node.op == "add"]
        constants = [known[n] for node in added for n in node.inputs if known[n].op == "constant"]
        own = all(len(consumers[node.name]) == 1 for node in constants)
        neurons = [node for node in readers if node.op == "integer_fire"]
        if len(constants) != len(added) or not own or any(map(leak_shift, neurons)):
            return None
        graph = self._into_maps(neurons, scale, shift)
        nodes, arrays = graph.by_name(), dict(graph.params)
        for held in constants:
            (values,) = graph.arrays(held)
            name = f"{held.name}.shifted"
            arrays[name] = values + per_channel(shift, values)
            nodes[held.name] = replace(held, params=(name,))
        return graph.rebuilt(nodes, arrays)

    def _into_readers(
        self, synapses: list[Node], scale: NDArray[Any], shift: NDArray[Any]
    ) -> Graph:
        """W (s · x + t) + b = (W s) x + (W t + b): where zeros are padded, t is not there."""
        changed: dict[str, Node] = {}
        arrays: dict[str, NDArray[Any]] = {}
        for synapse in synapses:
            weight, bias = self.graph.arrays(synapse)
            source = self.graph.node(synapse.inputs[0]).output
            groups = synapse["groups"] if synapse.op == "conv2d" else 1
            rows = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
            scales, shifts = (
                np.broadcast_to(v, source.channels).reshape(groups, 1, -1, 1)
                for v in (scale, shift)
            )
            names = (f"{synapse.name}.weight_of_scaled", f"{synapse.name}.bias_of_shifted")
            arrays[names[0]] = (rows * scales).reshape(weight.shape)
            if shift.any() and synapse.op == "conv2d" and any(synapse["padding"]):
                plane = shifts.reshape(-1, *[1] * (len(source.shape) - 1))
                constant = np.broadcast_to(plane, source.shape)
                total = OPS[synapse.op].dense(synapse, [constant], [weight, bias])
                arrays[names[1]] = total.reshape(-1, *synapse.output.plane)
            else:
                added = (rows * shifts).sum((2, 3)).reshape(-1, *[1] * (bias.ndim - 1))
                arrays[names[1]] = bias + added
            changed[synapse.name] = replace(synapse, params=names)
        return self._without_affine(changed, arrays)

    def _through_wiring(self, wiring: Node, scale: NDArray[Any], shift: NDArray[Any]) -> Graph:
        """The same affine on everything that is concatenated, enlarged or pooled."""
        nodes: dict[str, Node] = {}
        arrays = dict(self.graph.params)
        for name, node in self._without_affine({}, {}).by_name().items():
            if name != wiring.name:
                nodes[name] = node
                continue
            first, inputs = 0, []
            # Of a sampling, only what is sampled.
            moved = wiring.inputs[: 1 if wiring.op == "deformable_sample" else None]
            for i, source in enumerate(moved):
                output = self.graph.node(source).output
                part = slice(first, first := first + output.channels)
                branch = f"{self.affine.name}.on{i}"
                params = (f"{branch}.scale", f"{branch}.shift")
                width = 1 if wiring.op == "rewire" else wiring.output.channels
                vectors = (np.broadcast_to(v, width) for v in (scale, shift))
                arrays |= {p: v[part].copy() for p, v in zip(params, vectors, strict=True)}
                real = replace(output, dtype=DType.FLOAT32, levels=0)
                nodes[branch] = Node(branch, "affine", (source,), params, real, self.affine.origin)
                inputs.append(branch)
            real = replace(node.output, dtype=DType.FLOAT32, levels=0)
            inputs += node.inputs[len(moved) :]
            nodes[name] = replace(node, inputs=tuple(inputs), output=real)
        return self.graph.rebuilt(nodes, arrays)

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


def _takes(neuron: Node, scale: NDArray[Any], shift: NDArray[Any]) -> bool:
    """Whether a neuron can see its current scaled and shifted.

    One that remembers subtracts its counts from it, which must be of a power of two.
    """
    if not leak_shift(neuron):
        return bool((scale > 0).all())
    return bool((np.frexp(scale)[0] == 0.5).all()) and not shift.any()  # noqa: PLR2004
