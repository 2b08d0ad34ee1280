"""The same counts from kernels compiled for the plainest processor of the family.

Vectors are split there, bytes cannot be compressed, and pairs are multiplied one by one: all the
code that this machine may never run.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba import config

import s2f_deploy

PROGRAM = """
import sys
import numpy as np
import s2f_deploy
from s2f_sim.kernels.accumulate import accumulate_convolution
from s2f_sim.simulator import Simulator

x = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
graph = s2f_deploy.load(sys.argv[1])
found, expected = (Simulator(graph, engine, 1).run(x) for engine in ("events", "reference"))
assert found.layers == expected.layers
for name, counts in expected.counts.items():
    assert np.array_equal(found.counts[name], counts), name
assert sum(int(counts.sum()) for counts in expected.counts.values()) > 1000
(code,) = accumulate_convolution.inspect_asm().values()
assert "zmm" not in code
"""


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")  # type: ignore[attr-defined]
def test_a_plain_processor_gives_the_same_counts(tiny_onnx: Path, tmp_path: Path) -> None:
    artefact = tmp_path / "tiny.s2f"
    s2f_deploy.save(s2f_deploy.lower(tiny_onnx, "int8"), artefact)
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path / "compiled")}
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(artefact)], env=os.environ | plain, check=True
    )
