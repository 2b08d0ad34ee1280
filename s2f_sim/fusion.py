"""Which nodes of an EVENT graph the ``events`` engine runs as one: a layer and what follows it.

The sums of a synaptic layer or an attention are shifted onto a common grid, added to a residual
and fired while they are still in the cache. Nodes in between give no value of their own, unless
somebody else reads it.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from s2f_deploy.ir.graph import WIRING, Graph, Node
from s2f_deploy.ops.constant import always_fires


@dataclass(frozen=True, slots=True)
class Residual:
    """The other branch of a sum: whose value, and the node that shifts it, if one does."""

    value: str
    align: Node | None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing an engine does.

    Attributes:
        node: what is computed first.
        inputs: names of the values it reads.
        shifts: ``align`` nodes that shift its sums.
        residual: what is added to them.
        membrane: the node whose value the finished sums are, if anybody reads them.
        neuron: the node that fires them, if one does.
        dropped: names of the values that it reads last.
    """

    node: Node
    inputs: tuple[str, ...]
    shifts: tuple[Node, ...] = ()
    residual: Residual | None = None
    membrane: Node | None = None
    neuron: Node | None = None
    dropped: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """All values it needs."""
        return (*self.inputs, *([self.residual.value] if self.residual else []))


def single_steps(graph: Graph) -> list[Step]:
    """Every node by itself."""
    steps = [_single(node) for node in _without_names(graph).nodes if node.op != "input"]
    return _with_last_reads(steps)


def fused_steps(graph: Graph, fusing: AbstractSet[str]) -> list[Step]:
    """The whole graph in order, with as much fused as leaves every value what it is.

    Args:
        graph: at EVENT level.
        fusing: names of the nodes whose sums may be finished at once.
    """
    graph = _without_names(graph)
    fusion = _Fusion(graph)
    steps: list[Step] = []
    for node in graph.nodes:
        if node.op == "input" or node.name in fusion.done:
            continue
        step = fusion.follow(node) if node.name in fusing else _single(node)
        if step.residual is not None and step.residual.align is not None:
            # Its shift, placed before as a step of its own, now happens in this one.
            steps = [one for one in steps if one.node is not step.residual.align]
        steps.append(step)
    return _with_last_reads(steps)


def _with_last_reads(steps: Sequence[Step]) -> list[Step]:
    """The steps, each with what no later one reads."""
    read, found = set[str](), list[Step]()
    for step in reversed(steps):
        dropped = tuple(dict.fromkeys(name for name in step.reads if name not in read))
        read.update(dropped)
        found.append(replace(step, dropped=dropped))
    return found[::-1]


def _without_names(graph: Graph) -> Graph:
    """Without wiring that nobody reads: it only shows a population under another neuron's name."""
    wanted: set[str] = set()
    for node in reversed(graph.nodes):
        if node.op not in WIRING or node.name in wanted:
            wanted.update((node.name, *node.inputs))
    return graph.rebuilt(tuple(node for node in graph.nodes if node.name in wanted))


def _single(node: Node) -> Step:
    fires = node.op == "integrate_fire" or always_fires(node)
    return Step(node, node.inputs, membrane=None if fires else node, neuron=node if fires else None)


class _Fusion:
    """Grows steps; ``done`` are the nodes that have become part of one.

    ``order`` says when a value is there: with the first node of the step that gives it.
    """

    def __init__(self, graph: Graph) -> None:
        self.consumers: Mapping[str, Sequence[Node]] = graph.consumers()
        self.nodes = graph.by_name()
        self.order = {node.name: at for at, node in enumerate(graph.nodes)}
        self.done: set[str] = set()

    def follow(self, node: Node) -> Step:
        """The step that begins with ``node``."""
        step, at = Step(node, node.inputs), node
        while (following := self._next(step, at)) is not None:
            step, at = following
            self.done.add(at.name)
            self.order[at.name] = self.order[node.name]
        neurons = [one for one in self.consumers[at.name] if one.op == "integrate_fire"]
        neuron = neurons[0] if neurons else None
        if neuron is not None:
            self.done.add(neuron.name)
        alone = neuron is not None and len(self.consumers[at.name]) == 1
        return replace(step, neuron=neuron, membrane=None if alone else at)

    def _next(self, step: Step, at: Node) -> tuple[Step, Node] | None:
        """The step grown by the only reader of ``at``, if that can be fused."""
        readers = self.consumers[at.name]
        if len(readers) != 1 or readers[0].output.dtype is not step.node.output.dtype:
            return None
        (reader,) = readers
        if reader.op == "align" and step.residual is None:
            return replace(step, shifts=(*step.shifts, reader)), reader
        # Channels last, a reshape that leaves the channels alone moves nothing.
        if reader.op == "reshape" and reader.output.channels == at.output.channels:
            return step, reader
        if reader.op == "add" and step.residual is None:
            residual = self._residual(step, [name for name in reader.inputs if name != at.name])
            if residual is not None:
                return replace(step, residual=residual), reader
        return None

    def _residual(self, step: Step, others: list[str]) -> Residual | None:
        """The other branch of a sum, if it is there before this one."""
        if len(others) != 1:
            return None
        (other,) = (self.nodes[name] for name in others)
        # A shift that already belongs to a step is that step's value; its source's is not kept.
        waiting = other.op == "align" and other.name not in self.done
        if waiting and len(self.consumers[other.name]) == 1:
            (source,) = other.inputs
            same = self.nodes[source].output.dtype is step.node.output.dtype
            if same and self.order[source] < self.order[step.node.name]:
                self.done.add(other.name)
                return Residual(source, other)
        ready = self.order[other.name] < self.order[step.node.name]
        return Residual(other.name, None) if ready else None
