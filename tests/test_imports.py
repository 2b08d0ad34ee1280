"""What simulating needs is imported, and nothing that only lowering or verifying needs."""

import subprocess
import sys


def test_simulating_imports_no_compiler() -> None:
    program = (
        "import sys, s2f_sim, s2f_deploy\n"
        "heavy = [name for name in ('onnx', 'onnxruntime', 'torch', 'matplotlib') "
        "if name in sys.modules]\n"
        "assert not heavy, heavy\n"
        "assert callable(s2f_deploy.lower)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
