"""What is done with each model in its worker after the rules have seen it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nnlint.linter.check import lint_paths
from nnlint.linter.findings import Report
from nnlint.linter.load.pool import Pool
from nnlint.linter.load.tasks import Order, TaskResult, Work, resolve
from nnlint.linter.selection import resolve as rules
from nnlint.linter.settings import LintSettings

NAMES = """
from torch import nn

class First(nn.Linear):
    def __init__(self):
        super().__init__(3, 4)

class Second(nn.Linear):
    def __init__(self):
        super().__init__(5, 6)
"""


def sizes(work: Work) -> Mapping[str, Any]:
    assert work.graph is not None
    return {
        "size": list(work.model.weight.shape),  # type: ignore[union-attr, arg-type, operator]
        "training": work.model.training,
        "nodes": len(work.graph.nodes),
        "option": work.options["option"],
        "pid": os.getpid(),
    }


def failing_on_first(work: Work) -> Mapping[str, Any]:
    if work.target.name == "First":
        raise KeyError("lost")
    return {}


def exiting_on_first(work: Work) -> Mapping[str, Any]:
    if work.target.name == "First":
        raise SystemExit(3)
    return {}


def crashing_on_first(work: Work) -> Mapping[str, Any]:
    if work.target.name == "First":
        os.abort()
    return {}


def hanging_on_first(work: Work) -> Mapping[str, Any]:
    while work.target.name == "First":
        pass
    return {}


def hungry(work: Work) -> Mapping[str, Any]:
    import torch

    del work
    return {"size": torch.zeros(10**10).numel()}


@pytest.fixture
def run(tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lint a file of two models and have a function of this file done with each."""
    path = tmp_path / "nets.py"
    path.write_text(NAMES)
    module = tmp_path / "done_in_worker.py"
    module.write_text(Path(__file__).read_text(encoding="utf-8"))

    def do(
        name: str, *, seconds: float = 60.0, **settings: Any
    ) -> tuple[Report, dict[str, TaskResult]]:
        results: list[TaskResult] = []
        # The worker finds the file as the user's code does: below the root of the project.
        order = Order(f"done_in_worker:{name}", {"option": 7}, results.append, seconds)
        report = lint_paths(
            [str(path)],
            LintSettings(root=str(tmp_path), **settings),
            rules=rules((), ()),
            pool=pool,
            order=order,
        )
        assert [model.name for model in report.models] == ["First", "Second"]
        assert all(model.analysed for model in report.models)
        return report, {result.model: result for result in results}

    monkeypatch.chdir(tmp_path)
    return do


def test_a_task_gets_the_live_model_and_its_data_comes_back(run: Any) -> None:
    _, results = run("sizes")
    first, second = results["First"].data, results["Second"].data
    assert first["size"] == [4, 3]
    assert second["size"] == [6, 5]
    assert first["training"]
    assert first["option"] == 7
    assert first["nodes"] >= 2
    assert first["pid"] == second["pid"] != os.getpid()


@pytest.mark.parametrize(
    ("name", "settings", "code", "text"),
    [
        ("failing_on_first", {}, "NNL002", "nnlint failed on First: KeyError: 'lost'"),
        ("exiting_on_first", {}, "NNL001", "capturing a training step ends the program"),
        ("crashing_on_first", {}, "NNL001", "capturing a training step crashes Python"),
        ("hanging_on_first", {"seconds": 2.0}, "NNL001", "takes longer than the limit of 2 s"),
    ],
)
def test_a_task_that_fails_is_a_finding_and_the_next_model_goes_on(
    run: Any, name: str, settings: dict[str, Any], code: str, text: str
) -> None:
    report, results = run(name, **settings)
    assert results["First"].data is None
    assert results["First"].finding.code == code
    assert text in results["First"].finding.message
    assert results["Second"].data == {}
    # It says nothing of the model itself.
    assert text not in str(report)


def test_the_memory_limit_holds_for_a_task(run: Any) -> None:
    _, results = run("hungry", memory_bytes=1 << 30)
    for result in results.values():
        assert "needs more memory than the limit of 1 GiB" in result.finding.message


def test_a_task_is_named_by_module_and_function() -> None:
    assert resolve("os.path:join") is os.path.join
