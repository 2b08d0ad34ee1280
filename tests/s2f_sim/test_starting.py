"""What a simulation has to compile, and what it has to import once all is compiled."""

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
from s2f_sim.simulator import Simulator

x = np.zeros((1, 3, 32, 32), np.float32)
Simulator(s2f_deploy.load(sys.argv[1]), threads=1).run(x)
if len(sys.argv) > 2:
    # Only a compiler needs linear algebra.
    assert "numba.np.linalg" not in sys.modules
    assert "scipy.linalg" not in sys.modules
    kernels = {
        kernel: len(kernel.signatures)
        for name, module in list(sys.modules.items())
        if name.startswith("s2f_sim.kernels.")
        for kernel in vars(module).values()
        if hasattr(kernel, "signatures")
    }
    compiled = {kernel.__name__: count for kernel, count in kernels.items() if count}
    assert set(compiled.values()) == {1}, compiled
    assert len(compiled) <= 10, compiled
"""


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")  # type: ignore[attr-defined]
def test_compiled_kernels_are_few_and_load_without_a_compiler(
    tiny_onnx: Path, tmp_path: Path
) -> None:
    artefact = tmp_path / "tiny.s2f"
    s2f_deploy.save(s2f_deploy.lower(tiny_onnx, "int8"), artefact)
    for again in ([], ["again"]):
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(artefact), *again], env=os.environ, check=True
        )
