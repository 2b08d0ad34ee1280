r"""A record of one verification that others can repeat, with this program or without.

It names, by their sha256, the artefact's networks, every input, and what both sides computed:

- an input is its float32 bytes, C order, little endian, as the network takes it;
- counts are, for every neuron layer in firing order, the line ``<name> <shape>\n`` in UTF-8, the
  shape's sides joined by ``x``, followed by one byte per neuron, C order;
- outputs are the same with float32 bytes.

Whoever unpacks ``deployed.onnx`` from the artefact and runs it on the same inputs must get the same
digests: each layer's counts are a tensor of its name.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_deploy.ir.graph import Graph
from s2f_deploy.ir.text import print_graph

SCHEMA = "s2f/certificate/1"


@dataclass(frozen=True, slots=True)
class SampleDigest:
    """Digests of one sample: what went in, and what the spikes made of it."""

    input: str
    counts: str
    outputs: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was verified, by digests.

    Attributes:
        graph: of the event graph: its printed form, then each array's name, type and bytes.
        deployed: of the ONNX file ``deployed.onnx``.
        reference: of the ONNX file ``reference.onnx``.
        runtime: what ran the deployed network.
        engine: what ran the spikes.
        neurons: counts compared.
        equivalent: whether every count and every output bit was equal.
    """

    network: str
    graph: str
    deployed: str
    reference: str
    runtime: str
    engine: str
    neurons: int
    equivalent: bool
    samples: tuple[SampleDigest, ...]

    def to_json(self) -> str:
        """As it is written to a file."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n"

    def differences(self, other: "Certificate") -> list[str]:
        """What another run of the same comparison found differently; engines may differ."""
        found = [
            name
            for name in ("graph", "deployed", "reference", "equivalent")
            if getattr(self, name) != getattr(other, name)
        ]
        if len(self.samples) != len(other.samples):
            return [*found, f"samples: {len(self.samples)}, not {len(other.samples)}"]
        pairs = enumerate(zip(self.samples, other.samples, strict=True))
        return found + [
            f"{part} of sample {i}"
            for i, (mine, theirs) in pairs
            for part in ("input", "counts", "outputs")
            if getattr(mine, part) != getattr(theirs, part)
        ]


def read_certificate(path: Path) -> Certificate:
    """A certificate from a file.

    Raises:
        InputError: the file is missing or no certificate.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        schema = entries.pop("schema")
        samples = tuple(SampleDigest(**sample) for sample in entries.pop("samples"))
        certificate = Certificate(samples=samples, **entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _no_certificate(path, str(error)) from error
    if schema != SCHEMA:
        raise _no_certificate(path, f"its schema is {schema!r}")
    return certificate


def _no_certificate(path: Path, why: str) -> InputError:
    return InputError(
        f"this is no certificate: {why}",
        where=str(path),
        fix="write one with s2f verify --certificate",
    )


def digest_of_sample(
    sample: NDArray[Any], counts: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
) -> SampleDigest:
    """Digests of one input, the counts of all neurons and all outputs, without batch axes."""
    image = hashlib.sha256(np.ascontiguousarray(sample, "<f4").tobytes()).hexdigest()
    return SampleDigest(image, _digest(counts, "u1"), _digest(outputs, "<f4"))


def _digest(values: Mapping[str, NDArray[Any]], dtype: str) -> str:
    digest = hashlib.sha256()
    for name, value in values.items():
        digest.update(f"{name} {'x'.join(map(str, value.shape))}\n".encode())
        digest.update(np.ascontiguousarray(value, dtype).tobytes())
    return digest.hexdigest()


def digest_of_graph(graph: Graph) -> str:
    """sha256 of the printed graph, then of every array's name, type and bytes, by name."""
    digest = hashlib.sha256(print_graph(graph).encode())
    for name, array in sorted(graph.params.items()):
        digest.update(f"{name} {array.dtype.str} {'x'.join(map(str, array.shape))}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def digest_of_bytes(content: bytes) -> str:
    """sha256 of a file's content."""
    return hashlib.sha256(content).hexdigest()
