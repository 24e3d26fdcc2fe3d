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


LAST = """
def activation(kind):
    if kind == "relu":
        return nn.ReLU()
    if kind == "soft":
        return nn.LogSoftmax(dim=1)
    return nn.Identity()

class Head(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.fc = nn.Linear(20, 8)
        self.act = activation(options["last"])
        self.drop = nn.Dropout(options["drop"])

    def forward(self, x):
        return {result}

def step(head: Head, x, y):
    return F.nll_loss(head(x), y)
"""
ACTIVATION = "an argument that was assumed may choose the last activation"
RATE = "the rate of the last dropout was assumed, it may be 0"
SURE = {"parameters": "", "first": "20", "second": "20"}


@pytest.mark.parametrize(
    ("rule", "result", "reason"),
    [
        ("relu-on-logits", "self.act(self.fc(x))", ACTIVATION),
        ("nll-without-log-softmax", "self.act(self.fc(x))", ACTIVATION),
        ("dropout-on-output", "self.drop(self.fc(x))", RATE),
    ],
)
def test_the_last_layer(check, rule, result, reason):
    report = check(rule, tail=LAST.format(result=result), **SURE)
    assert report.findings == ()
    assert [c.reason for c in report.checks if c.model == "Head"] == [reason]


def test_a_last_layer_that_no_assumption_chooses(check):
    tail = LAST.format(result="F.relu(self.fc(x))")
    assert check("relu-on-logits", tail=tail, **SURE).findings


def test_a_last_layer_for_the_usual_number_of_classes(check):
    tail = LAST.format(result="x").replace(
        "        return x",
        "        x = self.fc(x)\n        if self.classes <= 2:\n            x = torch.sigmoid(x)\n"
        "        else:\n            x = F.softmax(x, 1)\n        return x",
    )
    tail = tail.replace('activation(options["last"])', "nn.Identity()")
    tail = tail.replace("self.fc =", "self.classes = options['classes']\n        self.fc =")
    tail = tail.replace("F.nll_loss", "F.cross_entropy")
    assert check("softmax-before-cross-entropy", tail=tail, **SURE).findings


def test_an_activation_that_an_assumed_switch_may_bring(check):
    tail = LAST.format(result="self.fc(x)")
    assert check("nll-without-log-softmax", tail=tail, **SURE).findings
    switched = "torch.log_softmax(self.fc(x), 1) if self.last == 'soft' else self.fc(x)"
    tail = LAST.format(result=switched)
    tail = tail.replace('self.act = activation(options["last"])', 'self.last = options["last"]')
    report = check("nll-without-log-softmax", tail=tail, **SURE)
    assert report.findings == ()


def test_the_number_of_classes_of_a_binary_loss(check):
    tail = LAST.format(result="self.out(x)").replace(
        "self.fc =", "self.out = nn.Linear(20, options['classes'])\n        self.fc ="
    )
    tail = tail.replace(
        "    return F.nll_loss(head(x), y)",
        "    out = head(x)\n    out.argmax(1)\n"
        "    return F.binary_cross_entropy_with_logits(out, y)",
    )
    report = check("binary-loss-on-multiclass", tail=tail, **SURE)
    assert report.findings == ()
    known = tail.replace("options['classes']", "12")
    assert check("binary-loss-on-multiclass", tail=known, **SURE).findings
