"""Whether the spikes compute what a runtime computes that has never heard of spikes.

Two questions, by the arithmetic of the graph. With weights as trained, `verify_float` compares
with the float network, and explains what rounding changed. With integer weights,
`verify_deployed` compares with the deployed network's own float form, where nothing may differ.
"""

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_deploy.ir.graph import Graph
from s2f_sim.deployed_report import DeployedReport
from s2f_sim.simulator import EngineName
from s2f_sim.verify_report import VerifyReport

Progress = Callable[[int, int], None]


def verify(
    graph: Graph,
    samples: Iterable[NDArray[Any]],
    *,
    engine: EngineName = "events",
    threads: int | None = None,
    progress: Progress | None = None,
) -> VerifyReport | DeployedReport:
    """Compare an event graph with the networks stored in it, by layer and end to end.

    Args:
        graph: at EVENT level, with its reference.
        samples: float32[C, H, W] or float32[B, C, H, W] each, as the network takes them, or with
            a time axis in front of the channels; read one after the other.
        engine: the simulator's engine to verify.
        threads: of the simulator and of ONNX Runtime; their own defaults if None.
        progress: called as ``progress(done, total)`` with numbers of samples.

    Raises:
        InputError: there is no sample, or one does not fit the network.
        ArtefactError: a stored network is damaged or another one.
    """
    # Simulating needs no ONNX, which takes a fifth of a second to import.
    from s2f_sim.verify_deployed import verify_deployed  # noqa: PLC0415
    from s2f_sim.verify_float import verify_float  # noqa: PLC0415

    compare = verify_deployed if graph.deployed else verify_float
    total = len(samples) if isinstance(samples, Sized) else 0
    singles = _counted(_single_samples(graph, samples), total, progress)
    return compare(graph, singles, engine, threads)


def _counted(
    samples: Iterator[NDArray[np.float32]], total: int, progress: Progress | None
) -> Iterator[NDArray[np.float32]]:
    """The samples; the progress moves when the next one is asked for."""
    for done, sample in enumerate(samples, 1):
        yield sample
        if progress is not None:
            progress(done, max(total, done))


def _single_samples(graph: Graph, samples: Iterable[Any]) -> Iterator[NDArray[np.float32]]:
    """Every sample as float32[C, H, W] or, of several frames, float32[T, C, H, W]."""
    shape = next(graph.select("input")).output.array_shape
    found = False
    for position, given in enumerate(samples):
        batch = np.asarray(given)
        batch = batch[None] if batch.ndim == len(shape) else batch
        fits = batch.ndim == len(shape) + 1 and batch.shape[1:] == shape
        if not fits or not np.issubdtype(batch.dtype, np.floating):
            wrong = f"{np.asarray(given).dtype}{list(np.shape(given))}"
            raise _unfit(shape, f"not {wrong}", position)
        if not np.isfinite(batch).all():
            raise _unfit(shape, "of finite values", position)
        for sample in np.ascontiguousarray(batch, np.float32):
            found = True
            yield sample
    if not found:
        raise _unfit(shape, "and at least one sample", 0)


def _unfit(shape: tuple[int, ...], found: str, position: int) -> InputError:
    return InputError(
        f"the network takes float32[{', '.join(map(str, shape))}] or batches of it, {found}",
        where=f"sample {position}",
        fix="resize and normalise images as the network was trained",
    )
