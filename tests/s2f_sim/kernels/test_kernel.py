"""What every compiled kernel refuses, and when it is compiled again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import config
from numba.core import caching
from numba.core.errors import TypingError

from s2f_sim.kernels import kernel as kernels
from s2f_sim.kernels.events import list_row
from s2f_sim.kernels.kernel import KernelCacheLocator

compiled = pytest.mark.skipif(
    bool(config.DISABLE_JIT),  # type: ignore[attr-defined]
    reason="plain loops are neither compiled nor kept",
)


@compiled
def test_strided_arrays_are_refused() -> None:
    counts = np.zeros(256, np.uint8)[::2]
    index, first = np.zeros(200, np.uint32), np.zeros(2, np.int64)
    with pytest.raises(TypingError, match="C-contiguous"):
        list_row(counts, 0, 1, 64, index, 0, first, 0)


@compiled
def test_an_edit_to_any_kernel_compiles_all_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locator = list_row._cache._impl.locator  # type: ignore[attr-defined]
    assert isinstance(locator, KernelCacheLocator)
    before = locator.get_source_stamp()
    for path in Path(kernels.__file__).parent.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "kernel.py"))
    digest = kernels._digest_of_kernels.__wrapped__
    assert digest() == before
    with (tmp_path / "lanes.py").open("a") as edited:
        edited.write("\n")
    assert digest() != before


def test_numbas_own_places_are_kept() -> None:
    function = compiled_nowhere
    locator = KernelCacheLocator.from_function(function, __file__)
    assert locator is not None
    classes: list[Any] = caching.CacheImpl._locator_classes
    places = [c.from_function(function, __file__) for c in classes]
    place = next(place for place in places if place is not None)
    assert locator.get_cache_path() == place.get_cache_path()
    assert locator.get_disambiguator() == place.get_disambiguator()


def compiled_nowhere() -> None:
    """Only its place is asked for."""
