"""A cost profile to change one value of."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest


def _line(key: str, value: Any) -> str:
    if isinstance(value, str):
        return f"{key} = {value}"
    return f'{key} = {{ v = {value}, src = "s2f", cert = "assumed" }}'


@pytest.fixture
def profile_file(tmp_path: Path) -> Callable[..., Path]:
    """Write cmos45-horowitz with other lines: text as it is, numbers as assumed, None removed."""
    convention = (resources.files("s2f_sim") / "costs" / "cmos45-horowitz.toml").read_text()

    def write(**changed: Any) -> Path:
        lines = []
        for line in convention.splitlines():
            key = line.partition(" = ")[0]
            if key not in changed:
                lines.append(line)
            elif changed[key] is not None:
                lines.append(_line(key, changed[key]))
        path = tmp_path / "changed.toml"
        path.write_text("\n".join(lines))
        return path

    return write
