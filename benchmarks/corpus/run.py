"""Lint one tree as `nnlint TREE` does, in this process, and write down what came of it.

Usage: python benchmarks/corpus/run.py TREE OUT [--timeout SECONDS]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nnlint.errors import NoModelError
from nnlint.linter.check import lint_paths
from nnlint.linter.config import load_config
from nnlint.linter.findings import Outcome, Report
from nnlint.linter.load.files import read_text
from nnlint.linter.load.pool import OnEvent, Pool
from nnlint.linter.load.protocol import Exit, Job
from nnlint.linter.selection import resolve_for_lint
from nnlint.linter.suppress import apply_to_run


class MeasuredPool(Pool):
    """A pool that notes the time and the end of each job."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[dict[str, Any]] = []

    def run(self, job: Job, on_event: OnEvent) -> Exit:
        """Do one job and note what it took."""
        start = time.perf_counter()
        end = super().run(job, on_event)
        self.jobs.append(
            {
                "path": job.path,
                "wall": time.perf_counter() - start,
                "cpu": end.cpu,
                "limit": end.limit,
                "code": end.code,
            }
        )
        return end


def lint(tree: Path, timeout: float) -> dict[str, Any]:
    """Return what linting a tree gave and took."""
    os.chdir(tree)
    config = load_config(Path())
    settings = config.settings
    if timeout:
        settings = dataclasses.replace(settings, timeout=timeout)
    rules = resolve_for_lint(settings.select, settings.ignore)
    with MeasuredPool() as pool:
        pool.start()
        start, before = time.perf_counter(), _cpu()
        try:
            report = lint_paths(["."], settings, rules=rules, pool=pool)
        except NoModelError:
            report = Report()
        wall, cpu = time.perf_counter() - start, _cpu() - before
    texts = dict(report.sources)
    for path in {model.path for model in report.models} - texts.keys():
        texts[path] = read_text(path)
    report = apply_to_run(report, texts, rules, settings)
    return {
        "findings": [finding.to_dict() for finding in report],
        "models": [model.to_dict() for model in report.models],
        "checks": [
            [check.rule, check.model, check.outcome.value, check.reason]
            for check in report.checks
            if check.outcome is not Outcome.FOUND
        ],
        "jobs": pool.jobs,
        "wall": wall,
        "parent_cpu": cpu,
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Do the tree that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--timeout", type=float, default=0.0)
    options = parser.parse_args()
    out = options.out.resolve()
    out.write_text(json.dumps(lint(options.tree, options.timeout), default=str), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
