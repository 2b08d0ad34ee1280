"""The forms of a network that can be evaluated: spikes, or an ONNX file in its artefact."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ArtefactError, InputError
from s2f_deploy.ir.graph import Graph
from s2f_sim.certificate import digest_of_bytes, digest_of_graph
from s2f_sim.run import Run
from s2f_sim.simulator import EngineName, Simulator

SPIKES, DEPLOYED, FLOAT = "spikes", "deployed", "float"
FORMS = (SPIKES, DEPLOYED, FLOAT)


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """What a network made of one sample.

    Attributes:
        output: the first of its outputs, float32, without batch axis.
        work: counts of the simulation; empty where nothing was simulated.
        seconds: wall time.
    """

    output: NDArray[Any]
    work: Mapping[str, int]
    seconds: float


class EvaluatedNetwork(Protocol):
    """Anything that answers samples.

    Attributes:
        binding: JSON values that tell its answers from those of another one.
    """

    binding: Mapping[str, Any]

    def run(self, x: NDArray[Any]) -> Response:
        """Answer one sample, float32[1, ...] as the network takes it."""
        ...


class Spikes:
    """The event graph, simulated.

    Args:
        graph: at EVENT level.
        timesteps: in which a neuron may fire; D if None.
        engine: of the simulator.
        threads: of the ``events`` engine; all cores if None.
    """

    def __init__(
        self,
        graph: Graph,
        timesteps: int | None = None,
        engine: EngineName = "events",
        threads: int | None = None,
    ) -> None:
        self._simulator = Simulator(graph, engine, threads)
        self.engine, self.levels = engine, self._simulator.levels
        self.timesteps = timesteps or self.levels
        # The number of threads changes nothing.
        self.binding: Mapping[str, Any] = {
            "network": SPIKES,
            "graph": digest_of_graph(graph),
            "timesteps": self.timesteps,
            "engine": engine,
        }

    def run(self, x: NDArray[Any]) -> Response:
        """Simulate one sample."""
        run = self._simulator.run(x, self.timesteps)
        output = next(iter(run.outputs.values()))
        return Response(output[0], work_of(run), run.seconds)


class StoredOnnx:
    """The network as trained, or its deployed form, run by ONNX Runtime.

    Args:
        graph: with its reference, and its deployed form if that is asked for.
        form: ``DEPLOYED`` or ``FLOAT``.
        threads: within one operator; ONNX Runtime's own default if None.

    Raises:
        InputError: the artefact has no such form.
        ArtefactError: it is damaged.
    """

    def __init__(self, graph: Graph, form: str, threads: int | None = None) -> None:
        # Simulating needs no ONNX, which takes a fifth of a second to import.
        import onnx  # noqa: PLC0415

        from s2f_sim.onnx_runtime import TensorReader  # noqa: PLC0415

        content = graph.deployed if form == DEPLOYED else graph.reference
        if not content:
            raise InputError(
                f"the artefact holds no {form} network",
                where=graph.name,
                fix="export it again with --weights int8, or evaluate another form (--network)",
            )
        self.form = form
        output = next(graph.select("output"))
        self._tensor, self._shape = output.name, output.output.array_shape
        self._input = next(graph.select("input")).output.array_shape
        try:
            model = onnx.load_from_string(content)
            self._reader = TensorReader(model, [self._tensor], threads, fused=True)
        # ONNX and its runtime have errors of their own for everything a damaged file can hold.
        except Exception as error:
            raise ArtefactError(
                f"ONNX Runtime does not take the stored {form} network",
                where=graph.name,
                fix="the artefact is damaged: export the network again",
            ) from error
        self.runtime = f"ONNX Runtime {self._reader.version}"
        self.binding: Mapping[str, Any] = {
            "network": form,
            "graph": digest_of_bytes(content),
            "engine": self.runtime,
        }

    def run(self, x: NDArray[Any]) -> Response:
        """Run one sample.

        Raises:
            InputError: it does not fit the network.
        """
        if x.shape != (1, *self._input):
            raise InputError(
                f"the network takes float32{list(self._input)}, not {list(x.shape[1:])}",
                where=self._tensor,
                fix="export the network again with the preprocessing it was trained with",
            )
        began = time.perf_counter()
        (output,) = self._reader.read(np.asarray(x[0], np.float32), [self._tensor])
        return Response(output.reshape(self._shape), {}, time.perf_counter() - began)


def work_of(run: Run) -> dict[str, int]:
    """Sums over the layers of a run."""
    return {
        "spikes": sum(layer.spikes for layer in run.layers if layer.kind == "neuron"),
        "ac": sum(layer.ac for layer in run.layers),
        "mac": sum(layer.mac for layer in run.layers if layer.kind != "host"),
        "host_mac": sum(layer.mac for layer in run.layers if layer.kind == "host"),
        "dense_mac": sum(layer.dense_mac for layer in run.layers),
    }
