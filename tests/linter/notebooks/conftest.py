from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nnlint.linter.check import lint_paths
from nnlint.linter.findings import Report
from nnlint.linter.load.pool import Pool
from nnlint.linter.rules.base import all_rules
from nnlint.linter.settings import LintSettings
from nnlint.linter.suppress import apply_to_run
from tests.linter.notebooks.books import Lint


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    with Pool() as started:
        started.start()
        yield started


@pytest.fixture
def lint(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lint:
    """Lint files that are given as texts, with the current directory at their folder."""
    monkeypatch.chdir(tmp_path)

    def run(files: dict[str, str], *paths: str, stdin: str = "", **settings: Any) -> Report:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        chosen, rules = LintSettings(**settings), all_rules()
        options: dict[str, Any] = {"stdin_text": stdin, "stdin_filename": "in.ipynb"}
        paths = ("-",) if stdin else paths or (next(iter(files)),)
        report = lint_paths(paths, chosen, rules=rules, pool=pool, **(options if stdin else {}))
        return apply_to_run(report, report.sources, rules, chosen)

    return run
