"""One spawner for all tests of a process, and a way to lint a text in a folder of its own."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nnlint.linter.check import lint_paths
from nnlint.linter.discover.source import Source
from nnlint.linter.findings import Report
from nnlint.linter.load.importing import import_source
from nnlint.linter.load.pool import Pool
from nnlint.linter.rules.base import ToolRule, all_rules
from nnlint.linter.settings import LintSettings

Lint = Callable[..., Report]
Imported = Callable[..., ModuleType]

TOOL_RULES = [rule for rule in all_rules() if issubclass(rule, ToolRule)]


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    with Pool() as started:
        started.start()
        yield started


@pytest.fixture
def lint(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lint:
    """Lint a text, or several by file name, with the current directory at their folder."""
    monkeypatch.chdir(tmp_path)

    def run(files: str | dict[str, str], *paths: str, **settings: Any) -> Report:
        if isinstance(files, str):
            files = {"net.py": files}
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text), encoding="utf-8")
        chosen = paths or (next(iter(files)),)
        return lint_paths(chosen, LintSettings(**settings), rules=TOOL_RULES, pool=pool)

    return run


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Imported]:
    """Import a text, or the first of several by file name, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = dict(sys.modules)

    def run(files: str | dict[str, str]) -> ModuleType:
        if isinstance(files, str):
            files = {"net.py": files}
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text), encoding="utf-8")
        name = next(iter(files))
        return import_source(Source.parse(name, textwrap.dedent(files[name])), str(tmp_path))

    yield run
    for name in sys.modules.keys() - before.keys():
        if (file := getattr(sys.modules[name], "__file__", None)) is None or str(tmp_path) in file:
            del sys.modules[name]
