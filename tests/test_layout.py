"""House rules that no linter has: who may import whom, and how long a module may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "s2f_deploy": set[str](),
    "s2f_sim": {"s2f_deploy"},
    "models/s2f_models": set[str](),
    "cli/s2f_cli": {"s2f_deploy", "s2f_sim", "s2f_models"},
}
MODULES = [(package, path) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def imported_packages(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module=str(name)):
                yield name.partition(".")[0]
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case _:
                pass


@pytest.mark.parametrize(("package", "path"), MODULES, ids=lambda x: getattr(x, "stem", None))
def test_module(package: str, path: Path) -> None:
    ours = {name.rpartition("/")[2] for name in PACKAGES} - {package.rpartition("/")[2]}
    imported = set(imported_packages(path))
    assert ours & imported <= PACKAGES[package]
    assert len(path.read_text().splitlines()) <= 300
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    if package == "s2f_deploy" and path.stem != "export_torch":
        assert "torch" not in imported


def test_every_module_is_looked_at() -> None:
    assert len(MODULES) > 60
