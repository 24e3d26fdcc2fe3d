"""Nothing in the server can turn what a client sends into code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import nnlint

ROOM = Path(nnlint.__file__).parent / "probe_service"
# Everything that a server or a worker imports.
FILES = sorted(
    path
    for name in ("server", "replay", "experiments", "operators")
    for path in (ROOM / name).rglob("*.py")
)
MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "sympy", "runpy", "code", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__", "execfile", "input"}
METHODS = {("torch", "load"), ("torch", "jit"), ("torch", "hub"), ("torch", "package")}
# The executor is named by the settings; operators and experiments are files of our own folders.
MAY_IMPORT = {
    "server/spawner.py",
    "server/worker.py",
    "operators/base.py",
    "experiments/base.py",
}


def suspicious(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (a.name for a in names if a.name.partition(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in MODULES:
                yield module
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                yield f"{name}()"
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if (owner, name) in METHODS:
                yield f"{owner}.{name}"
            case ast.Attribute(attr="import_module"):
                if str(path.relative_to(ROOM)) not in MAY_IMPORT:
                    yield "import_module"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOM)))
def test_the_server_has_no_way_to_run_what_it_is_sent(path: Path) -> None:
    assert not list(suspicious(path))


def test_the_check_sees_what_it_looks_for(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("import pickle\nfrom sympy import x\neval('1')\ntorch.load('f')\n")
    assert sorted(suspicious(path)) == ["eval()", "pickle", "sympy", "torch.load"]
