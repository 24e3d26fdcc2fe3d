"""Imports run one way: cli -> probe_service -> linter; protos is for probe_service alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nnlint

PACKAGE = Path(nnlint.__file__).parent
# A room may import itself, the exceptions, the version, and the rooms named here.
ALLOWED = {
    "linter": set(),
    "protos": set(),
    "probe_service": {"linter", "protos"},
    "cli": {"linter", "probe_service"},
}
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name in ALLOWED)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    for path in sorted((PACKAGE / room).rglob("*.py")):
        for line, name in imports(path):
            parts = name.split(".")
            if parts[0] == "nnlint" and len(parts) > 1 and parts[1] in ALLOWED:
                assert parts[1] == room or parts[1] in ALLOWED[room], f"{path}:{line} {name}"


def test_no_file_needs_a_second_room_of_its_own() -> None:
    too_long = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob("*.py")
        if "_pb2" not in path.name and (lines := path.read_text().count("\n")) > 500
    }
    assert not too_long


@pytest.mark.parametrize(
    "module",
    [
        "nnlint",
        "nnlint.cli",
        "nnlint.linter.rules.base",
        "nnlint.linter.check",
        "nnlint.linter.discover",
    ],
)
def test_what_the_command_line_needs_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; print(*({{'torch', 'grpc', 'numpy'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_the_rules_and_their_documentation_import_no_torch() -> None:
    code = (
        "import sys; from nnlint.linter.rules.base import all_rules; "
        "assert len(all_rules()) > 5; print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
