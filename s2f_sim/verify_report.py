"""What a verification found: tallies while it runs, frozen reports when it is done."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph

SCHEMA = "s2f/verify/1"


@dataclass(frozen=True, slots=True)
class LayerVerification:
    """One neuron layer over all samples.

    Attributes:
        neurons: compared, summed over the samples.
        mismatches: differing counts of the layer fed the float network's own counts.
        explained: those that the rounding bounds allow.
        worst_margin: of all mismatches, the largest part of its bound that a membrane needs to
            reach its count's comparators: 0 without mismatches, above 1 if unexplained,
            infinite (in JSON: null) where the bound is 0.
        reference_bound: largest rounding bound of the float network's membranes; 0 if exact.
        spike_bound: the same of the membranes the spikes build.
        end_to_end_mismatches: differing counts when nothing is fed in.
    """

    name: str
    neurons: int
    mismatches: int
    explained: int
    worst_margin: float
    reference_bound: float
    spike_bound: float
    end_to_end_mismatches: int

    @property
    def unexplained(self) -> int:
        """Mismatches that rounding cannot have caused: failures."""
        return self.mismatches - self.explained

    def to_dict(self) -> dict[str, Any]:
        """The attributes and ``unexplained``, ready for JSON."""
        return finite(asdict(self) | {"unexplained": self.unexplained})


@dataclass(frozen=True, slots=True)
class OutputVerification:
    """One output of the network over all samples.

    Attributes:
        values: compared, summed over the samples.
        max_abs_difference: largest difference, layers fed the float network's counts.
        bound: largest difference that rounding can explain; infinite (in JSON: null) behind a
            host tail, where a fixed relative tolerance is applied instead.
        excess: values that differ by more than their own bound: failures.
        end_to_end_max_abs_difference: the largest difference when nothing is fed in.
        same_class: samples whose largest element is the same end to end.
    """

    name: str
    values: int
    max_abs_difference: float
    bound: float
    excess: int
    end_to_end_max_abs_difference: float
    same_class: int

    def to_dict(self) -> dict[str, Any]:
        """The attributes, ready for JSON."""
        return finite(asdict(self))


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Whether an event graph computes what its float network computes.

    Attributes:
        network: name of the graph.
        engine: the simulator's engine.
        samples: inputs compared.
        layers: every neuron layer, in firing order.
        outputs: every output.
        diverging_samples: samples with a differing count anywhere, end to end.
        first_divergence: first layer, in firing order, where an end-to-end run left the float
            network; None if none did.
        divergence_explained: every end-to-end run that left it did so at a layer whose
            mismatches are all explained; true if none left it.
    """

    network: str
    engine: str
    samples: int
    layers: tuple[LayerVerification, ...]
    outputs: tuple[OutputVerification, ...]
    diverging_samples: int
    first_divergence: str | None
    divergence_explained: bool

    @property
    def neurons(self) -> int:
        """Counts compared."""
        return sum(layer.neurons for layer in self.layers)

    @property
    def mismatches(self) -> int:
        """Differing counts, layers fed the float network's own."""
        return sum(layer.mismatches for layer in self.layers)

    @property
    def explained(self) -> int:
        """Mismatches within the rounding bounds."""
        return sum(layer.explained for layer in self.layers)

    @property
    def unexplained(self) -> int:
        """Mismatches that rounding cannot have caused."""
        return sum(layer.unexplained for layer in self.layers)

    @property
    def worst_margin(self) -> float:
        """The largest of the layers' worst margins."""
        return max((layer.worst_margin for layer in self.layers), default=0.0)

    @property
    def equivalent(self) -> bool:
        """No mismatch is unexplained and every fed output lies within its bound."""
        return not self.unexplained and not any(output.excess for output in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; the keys are the names of this class and its parts."""
        return finite(
            {
                "schema": SCHEMA,
                "network": self.network,
                "engine": self.engine,
                "samples": self.samples,
                "equivalent": self.equivalent,
                "neurons": self.neurons,
                "mismatches": self.mismatches,
                "explained": self.explained,
                "unexplained": self.unexplained,
                "worst_margin": self.worst_margin,
                "end_to_end": {
                    "diverging_samples": self.diverging_samples,
                    "first_divergence": self.first_divergence,
                    "divergence_explained": self.divergence_explained,
                },
                "layers": [layer.to_dict() for layer in self.layers],
                "outputs": [output.to_dict() for output in self.outputs],
            }
        )


@dataclass(slots=True)
class Tally:
    """Sums of one neuron layer; see `LayerVerification`."""

    neurons: int = 0
    mismatches: int = 0
    explained: int = 0
    worst_margin: float = 0.0
    reference_bound: float = 0.0
    spike_bound: float = 0.0
    end_to_end_mismatches: int = 0


@dataclass(slots=True)
class OutputTally:
    """Sums of one output; see `OutputVerification`."""

    values: int = 0
    max_abs_difference: float = 0.0
    bound: float = 0.0
    excess: int = 0
    end_to_end_max_abs_difference: float = 0.0
    same_class: int = 0

    def compare_fed(
        self,
        expected: NDArray[Any],
        computed: NDArray[Any],
        bound: NDArray[Any],
        tolerance: float,
    ) -> None:
        """Count values off by more than their bound, or by ``tolerance`` where it is infinite."""
        difference = np.abs(expected.astype(np.float64) - computed)
        relative = tolerance * max(1.0, float(np.abs(expected).max()))
        allowed = np.where(np.isfinite(bound), bound, relative)
        self.values += expected.size
        # Written so that NaN, too, is in excess.
        self.excess += int(np.count_nonzero(~(difference <= allowed)))
        self.max_abs_difference = max(self.max_abs_difference, float(difference.max()))
        self.bound = max(self.bound, float(bound.max()))

    def compare_end_to_end(self, expected: NDArray[Any], computed: NDArray[Any]) -> None:
        """Record the largest difference and whether the class is the same."""
        difference = float(np.abs(expected.astype(np.float64) - computed).max())
        self.end_to_end_max_abs_difference = max(self.end_to_end_max_abs_difference, difference)
        self.same_class += int(expected.argmax() == computed.argmax())


@dataclass(slots=True)
class VerifyTally:
    """A verification under way."""

    layers: Mapping[str, Tally]
    outputs: Mapping[str, OutputTally]
    diverging_samples: int = 0
    diverge_first: set[str] = field(default_factory=set)

    @staticmethod
    def empty(network: Graph) -> "VerifyTally":
        """Nothing compared yet of a FLOAT graph's neurons and outputs."""
        return VerifyTally(
            {node.name: Tally() for node in network.select("integer_fire")},
            {node.name: OutputTally() for node in network.select("output")},
        )

    def report(self, network: str, engine: str, samples: int) -> VerifyReport:
        """What was found, frozen."""
        layers = tuple(
            LayerVerification(name, **asdict(tally)) for name, tally in self.layers.items()
        )
        first = [layer for layer in layers if layer.name in self.diverge_first]
        return VerifyReport(
            network,
            engine,
            samples,
            layers,
            tuple(OutputVerification(name, **asdict(t)) for name, t in self.outputs.items()),
            self.diverging_samples,
            first[0].name if first else None,
            all(layer.mismatches and not layer.unexplained for layer in first),
        )


def finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity: null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
