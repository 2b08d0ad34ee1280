"""Reading whole checkpoint files, as the tests of the reader do."""

from pathlib import Path

from s2f_models.stored_tensor import StoredTensor
from s2f_models.torch_file import read_torch_file, refusing


def read_tensors(path: Path) -> int:
    """Read every tensor at the top of the file; how many there are."""
    root = read_torch_file(path).root
    values = list(root.values()) if isinstance(root, dict) else []
    tensors = [value for value in values if isinstance(value, StoredTensor)]
    with refusing(path):
        for tensor in tensors:
            tensor.read()
    return len(tensors)
