"""What rests on assumed arguments is not held against the model."""

from __future__ import annotations

import pytest

from nnlint.linter.check import lint_paths
from nnlint.linter.findings import Report
from nnlint.linter.rules.base import rule_by_key
from nnlint.linter.settings import LintSettings, ModelSettings

MODEL = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self, {parameters}):
        super().__init__()
        self.a = nn.Linear(20, {first})
        self.b = nn.Linear({second}, 8)
        self.c = nn.Linear(8, 1)

    def forward(self, x):
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))
"""


@pytest.fixture
def check(pool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(
        rule: str, settings: ModelSettings | None = None, tail: str = "", **parts: str
    ) -> Report:
        (tmp_path / "net.py").write_text(MODEL.format(**parts) + tail, encoding="utf-8")
        given = {"net.py:Net": settings} if settings else {}
        rules = [rule_by_key()[rule]]
        return lint_paths(["net.py"], LintSettings(models=given), rules=rules, pool=pool)

    return run


MISFIT = {"parameters": "narrow, wide", "first": "narrow + 1", "second": "wide * 2"}


def test_sizes_that_do_not_fit(check):
    report = check("shape-mismatch", **MISFIT)
    assert report.findings == ()
    assert [check.reason for check in report.checks] == ["constructor arguments were assumed"]


def test_sizes_that_do_not_fit_as_they_are_given(check):
    report = check("shape-mismatch", ModelSettings(args=(8, 8)), **MISFIT)
    assert [finding.code for finding in report.findings] == ["NNL507"]
    assert report.models[0].assumed == {}


def test_widths(check):
    parts = {"parameters": "width", "first": "width * 1000", "second": "width * 1000"}
    report = check("abrupt-width", **parts)
    assert [check.reason for check in report.checks] == ["constructor arguments were assumed"]
    assert check("abrupt-width", ModelSettings(args=(10,)), **parts).findings


def test_the_number_of_classes(check):
    parts = {"parameters": "wide, n_classes=1", "first": "wide", "second": "wide"}
    loss = "\n\ndef step(net: Net, x, y):\n    return F.cross_entropy(Net(9)(x), y)\n"
    assert check("single-output-cross-entropy", ModelSettings(args=(8,)), loss, **parts).findings
    report = check("single-output-cross-entropy", tail=loss.replace("Net(9)", "net"), **parts)
    assert report.models[0].assumed
    assert report.findings == ()


def test_a_forward_that_raises(lint):
    report = lint("""
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self, mode):
                super().__init__()
                self.fc = nn.Linear(4, 4)
                self.mode = mode

            def forward(self, x):
                raise ValueError("no such mode")
    """)
    (note,) = report.findings
    assert (note.code, note.severity) == ("NNL004", "note")
    assert "with assumed arguments, forward raises ValueError: no such mode" in note.message
    assert report.models[0].obstacle == "forward"
