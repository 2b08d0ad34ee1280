"""The Python blocks of README.md run, in order, as one script."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    exec(compile("\n".join(blocks), README.name, "exec"), {})


def test_readme_has_two_set_up_commands() -> None:
    assert README.read_text().count("\n```sh\n") == 2
