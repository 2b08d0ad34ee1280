from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from s2f_cli.main import s2f

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(s2f, [str(argument) for argument in arguments])

    return run
