"""What a verification of integer weights found: tallies while it runs, a frozen report then."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph
from s2f_sim.certificate import Certificate
from s2f_sim.shown_counts import populations
from s2f_sim.verify_report import finite

SCHEMA = "s2f/verify-deployed/1"


@dataclass(frozen=True, slots=True)
class LayerComparison:
    """One neuron layer over all samples.

    Attributes:
        neurons: compared, summed over the samples.
        mismatches: counts that differ between the spikes and the deployed network: bugs.
        margin: the least distance of a membrane from a comparator, in units of one spike; None
            for neurons whose scale only comparators express.
        ties: membranes exactly on a comparator, where the rounding rule decides.
        changed: counts that differ from the float network's: the cost of integer weights.
    """

    name: str
    neurons: int
    mismatches: int
    margin: float | None
    ties: int
    changed: int


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """One output of the network over all samples.

    Attributes:
        values: compared, summed over the samples.
        mismatches: values whose bits differ between the spikes and the deployed network: bugs.
        largest_difference: from the float network's output.
        least_cosine: of all samples, between the two outputs.
        changed_classes: samples whose largest element is another than the float network's.
    """

    name: str
    values: int
    mismatches: int
    largest_difference: float
    least_cosine: float
    changed_classes: int


@dataclass(frozen=True, slots=True)
class DeployedReport:
    """Whether the spikes are the deployed network, and what deployment changed.

    Attributes:
        network: name of the graph.
        engine: the simulator's engine.
        runtime: what ran the deployed network.
        samples: inputs compared.
        wide_layers: layers whose sums float32 might round, and which the deployed network
            therefore splits or adds in double precision.
        layers: every neuron layer, in firing order.
        outputs: every output.
        certificate: digests for whoever wants to repeat this.
    """

    network: str
    engine: str
    runtime: str
    samples: int
    wide_layers: tuple[str, ...]
    layers: tuple[LayerComparison, ...]
    outputs: tuple[OutputComparison, ...]
    certificate: Certificate

    @property
    def neurons(self) -> int:
        """Counts compared."""
        return sum(layer.neurons for layer in self.layers)

    @property
    def mismatches(self) -> int:
        """Counts and output values that differ between spikes and deployed network."""
        in_outputs = sum(output.mismatches for output in self.outputs)
        return sum(layer.mismatches for layer in self.layers) + in_outputs

    @property
    def changed(self) -> int:
        """Counts that differ from the float network's."""
        return sum(layer.changed for layer in self.layers)

    @property
    def equivalent(self) -> bool:
        """Every count and every output bit is equal."""
        return not self.mismatches

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; the keys are the names of this class and its parts."""
        return {
            "schema": SCHEMA,
            "network": self.network,
            "engine": self.engine,
            "runtime": self.runtime,
            "samples": self.samples,
            "equivalent": self.equivalent,
            "neurons": self.neurons,
            "mismatches": self.mismatches,
            "changed": self.changed,
            "wide_layers": list(self.wide_layers),
            "layers": [finite(asdict(layer)) for layer in self.layers],
            "outputs": [finite(asdict(output)) for output in self.outputs],
        }


@dataclass(slots=True)
class LayerTally:
    """Sums of one neuron layer; see `LayerComparison`."""

    neurons: int = 0
    mismatches: int = 0
    margin: float | None = None
    ties: int = 0
    changed: int = 0

    def compare(
        self,
        fired: NDArray[Any],
        deployed: NDArray[Any],
        margins: NDArray[Any] | None,
    ) -> None:
        """Counts of the spikes and the deployed network, for one sample."""
        self.neurons += fired.size
        # Compared as they come: a count that is no whole number is a mismatch.
        self.mismatches += int(np.count_nonzero(fired.reshape(deployed.shape) != deployed))
        if margins is not None:
            nearest = float(margins.min())
            self.margin = nearest if self.margin is None else min(self.margin, nearest)
            self.ties += int(np.count_nonzero(margins == 0))

    def compare_trained(self, fired: NDArray[Any], trained: NDArray[Any]) -> None:
        """Counts of the spikes and the float network, for one sample."""
        self.changed += int(np.count_nonzero(fired.reshape(trained.shape) != trained))


@dataclass(slots=True)
class OutputTally:
    """Sums of one output; see `OutputComparison`."""

    values: int = 0
    mismatches: int = 0
    largest_difference: float = 0.0
    least_cosine: float = 1.0
    changed_classes: int = 0

    def compare(self, fired: NDArray[Any], deployed: NDArray[Any], trained: NDArray[Any]) -> None:
        """Outputs of the spikes, the deployed network and the float network, for one sample."""
        mine, other, floats = (np.ravel(v).astype("<f4") for v in (fired, deployed, trained))
        self.values += mine.size
        # By their bits, so that NaN equals itself, and 0 not -0.
        self.mismatches += int(np.count_nonzero(mine.view("<u4") != other.view("<u4")))
        difference = float(np.abs(mine.astype(np.float64) - floats).max())
        self.largest_difference = max(self.largest_difference, difference)
        self.least_cosine = min(self.least_cosine, _cosine(mine, floats))
        self.changed_classes += int(mine.argmax() != floats.argmax())


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else float(np.array_equal(a, b))


@dataclass(slots=True)
class DeployedTally:
    """A verification under way."""

    layers: Mapping[str, LayerTally]
    outputs: Mapping[str, OutputTally]

    @staticmethod
    def empty(graph: Graph) -> "DeployedTally":
        """Nothing compared yet of an EVENT graph's neurons and outputs."""
        return DeployedTally(
            {node.name: LayerTally() for node in populations(graph)},
            {node.name: OutputTally() for node in graph.select("output")},
        )

    @property
    def mismatches(self) -> int:
        """Counts and output values found different so far."""
        in_outputs = sum(tally.mismatches for tally in self.outputs.values())
        return sum(tally.mismatches for tally in self.layers.values()) + in_outputs
