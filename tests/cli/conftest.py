from __future__ import annotations

import sys
import types
from typing import Any, Self

import pytest

from nnlint.cli import main
from nnlint.linter.findings import (
    Check,
    Finding,
    Location,
    ModelReport,
    Outcome,
    Related,
    Report,
    Severity,
)

MODEL = """import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8, momentum=0.0)
        self.名前 = nn.Softmax(dim=1)
        self.relus = nn.ModuleList([nn.ReLU() for _ in range(9)])

    def forward(self, x):
        x = self.norm(x)
        for relu in self.relus:
            x = relu(x)
        return self.名前(x), "全角", x.exp()


class Other(nn.Module): ...
"""


def make_report() -> Report:
    softmax = Finding(
        rule="softmax-before-cross-entropy",
        code="NNL999",
        severity=Severity.ERROR,
        message="softmax output feeds cross_entropy, which applies log-softmax itself",
        location=Location("model.py", 16, 16, 16, 26),
        help="Return the logits of `名前` and let the loss normalise them: gradients shrink by up "
        "to 10 times (100 % of the batch), and the loss cannot fall below 0.55.",
        model="Net",
        modules=("名前",),
        evidence={"classes": 3, "floor": 0.55, "worst": float("inf")},
        related=(
            Related(Location("model.py", 5, 7, 5, 10), "Net is defined here", "class"),
            Related(Location("model.py", 9, 21, 9, 38), "the layer is built here", "built"),
            Related(Location("train.py", 30, 12), "the loss is computed here", "loss"),
        ),
    )
    norm = Finding(
        rule="frozen-batch-norm",
        code="NNL998",
        severity=Severity.WARNING,
        message="momentum 0 keeps the running statistics, at 0 and 1, for ever",
        location=Location("model.py", 8, 21, 8, 52),
        model="Net",
        modules=("norm",),
    )
    relus = Finding(
        rule="repeated-relu",
        code="NNL997",
        severity=Severity.NOTE,
        message="ReLU of a ReLU is the same ReLU\x1b[31m",
        location=Location("model.py", 15, 17, 15, 24),
        model="Net",
        modules=tuple(f"relus.{i}" for i in range(1, 9)),
    )
    comment = Finding(
        rule="invalid-suppression",
        code="NNL006",
        severity=Severity.WARNING,
        message="`ignore` names no rule, so it suppresses nothing",
        location=Location("my dir/ü,:[x](y).py", 3, 5, 4, 2),
    )
    hidden = Finding(
        rule="frozen-batch-norm",
        code="NNL998",
        severity=Severity.WARNING,
        message="momentum 0 keeps the running statistics, at 0 and 1, for ever",
        location=Location("model.py", 7, 9, 7, 27),
        evidence={"suppression": {"line": 7, "reason": "the statistics are loaded"}},
    )
    return Report(
        findings=(norm, relus, softmax, comment),
        models=(
            ModelReport("Net", "model.py", 5, analysed=True, capture="fx"),
            ModelReport("Other", "model.py", 19, analysed=False, reason="it has no forward"),
        ),
        checks=(
            Check("softmax-before-cross-entropy", "NNL999", "Net", Outcome.FOUND),
            Check("frozen-batch-norm", "NNL998", "Net", Outcome.FOUND),
            Check("repeated-relu", "NNL997", "Net", Outcome.FOUND),
            Check("bias-before-norm", "NNL996", "Net", Outcome.PASSED),
            Check("wide-kernel", "NNL995", "Net", Outcome.NOT_CHECKED, "no shape is known"),
        ),
        suppressed=(hidden,),
        sources={"model.py": MODEL},
    )


class FakePool:
    def start(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def report() -> Report:
    return make_report()


class Runner:
    """Runs the command line in this process on a report instead of the real linter."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.outcome: Report | BaseException = Report()
        self.calls: list[dict[str, Any]] = []

    def lint_paths(self, paths: Any, settings: Any, **options: Any) -> Report:
        self.calls.append({"paths": list(paths), "settings": settings, **options})
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> Runner:
    runner = Runner(capsys)
    check = types.ModuleType("nnlint.linter.check")
    check.lint_paths = runner.lint_paths  # type: ignore[attr-defined]
    pool = types.ModuleType("nnlint.linter.load.pool")
    pool.Pool = FakePool  # type: ignore[attr-defined]
    for module in (check, pool):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for variable in ("NO_COLOR", "FORCE_COLOR", "NNLINT_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL, encoding="utf-8")
    return runner
