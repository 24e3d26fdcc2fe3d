"""Defects that a probe has to find, from the source text to the finding."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from nnlint.linter.findings import Finding, Severity
from tests.probe.probing import probe_text

EXAMPLES = Path(__file__).parents[3] / "examples"
HEAD = """
import torch
import torch.nn.functional as F
from torch import nn

"""
LOSS = """

def loss(model, x, labels):
    return F.cross_entropy(model(x), labels)
"""


def loud(text: str, **options: object) -> dict[str, Finding]:
    findings, _ = probe_text(text, **options)
    return {f.rule: f for f in findings if f.severity is not Severity.NOTE}


def net(forward: str, init: str = "") -> str:
    """Return a net of two linear layers with a forward and additions to its constructor."""
    return (
        HEAD
        + "class Net(nn.Module):\n"
        + "    def __init__(self):\n"
        + "        super().__init__()\n"
        + "        self.fc1 = nn.Linear(16, 32)\n"
        + "        self.fc2 = nn.Linear(32, 4)\n"
        + textwrap.indent(textwrap.dedent(init), " " * 8)
        + "\n    def forward(self, x):\n"
        + textwrap.indent(textwrap.dedent(forward).strip("\n"), " " * 8)
        + LOSS
    )


def line(text: str, part: str) -> int:
    return next(i for i, each in enumerate(text.splitlines(), 1) if part in each)


def deep(activation: str, depth: int, init: str = "") -> str:
    return (
        HEAD
        + f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range({depth}))
        self.out = nn.Linear(32, 4)
        for layer in self.layers:
            {init or "pass"}

    def forward(self, x):
        for layer in self.layers:
            x = {activation}(layer(x))
        return self.out(x)
"""
        + LOSS
    )


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ("sigmoid_everywhere", {"vanishing-gradient"}),
        ("weights_of_100", {"exploding-gradient"}),
        ("biases_kill_relus", {"dead-units", "no-gradient"}),
        ("well_initialised", set()),
        ("relu_twin", set()),
        ("dropout_after_batchnorm", set()),
    ],
)
def test_the_examples_tell_their_stories(example: str, expected: set[str]) -> None:
    assert set(loud((EXAMPLES / f"{example}.py").read_text())) == expected


@pytest.mark.parametrize(
    ("activation", "depth"), [("torch.sigmoid", 8), ("torch.tanh", 16), ("F.relu", 16)]
)
def test_deep_plain_nets_fade(activation: str, depth: int) -> None:
    found = loud(deep(activation, depth))
    assert list(found) == ["vanishing-gradient"]
    assert "layers.0" in found["vanishing-gradient"].modules


@pytest.mark.parametrize(
    ("activation", "init"),
    [
        ("F.relu", "nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')"),
        ("torch.tanh", "nn.init.xavier_normal_(layer.weight, gain=5 / 3)"),
        ("F.gelu", "nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')"),
        ("F.selu", "nn.init.kaiming_normal_(layer.weight, nonlinearity='linear')"),
    ],
)
def test_deep_nets_with_the_right_start_do_not(activation: str, init: str) -> None:
    assert loud(deep(activation, 12, init)) == {}


def test_weights_that_are_too_large_explode() -> None:
    found = loud(deep("F.relu", 8, "nn.init.normal_(layer.weight, std=2.0)"))
    assert "exploding-gradient" in found


@pytest.mark.parametrize(
    ("forward", "part", "says"),
    [
        ("return self.fc2(F.relu(self.fc1(x)).log())", "log()", "`log` gives infinity"),
        (
            "x = F.relu(self.fc1(x))\nx = x / x\nreturn self.fc2(x)",
            "x / x",
            "`div` gives NaN",
        ),
        (
            "x = self.fc1(x)\nx = torch.sqrt((x - x).square() + 0.0)\nreturn self.fc2(x)",
            "sqrt",
            "the gradient of `sqrt` is",
        ),
        (
            "x = torch.exp(self.fc1(x) * 1000)\nreturn self.fc2(x)",
            "torch.exp",
            "`exp` gives infinity",
        ),
        (
            "x = self.fc1(x)\nx = torch.where(x > 0, x.sqrt(), 0 * x)\nreturn self.fc2(x)",
            "where",
            "`sqrt`",
        ),
    ],
)
def test_the_operation_that_makes_a_value_non_finite_is_named(
    forward: str, part: str, says: str
) -> None:
    text = net(forward)
    found = loud(text)["non-finite"]
    assert says in found.message
    assert found.location.line == line(text, part)
    assert found.severity is Severity.ERROR


def test_an_overflow_of_float16_is_told_as_one() -> None:
    text = net("x = self.fc1(x)\nx = (x.half() * 300) ** 2\nreturn self.fc2(x.float())")
    found = loud(text)["non-finite"]
    assert "float16" in found.message
    assert "bfloat16" in found.help


def test_a_detached_branch_and_a_layer_under_no_grad_are_told_with_their_line() -> None:
    text = net("return self.fc2(F.relu(self.fc1(x)).detach())")
    found = loud(text)["no-gradient"]
    assert found.modules == ("fc1",)
    assert found.location.line == line(text, "detach")
    text = net("with torch.no_grad():\n    x = F.relu(self.fc1(x))\nreturn self.fc2(x)")
    found = loud(text)["no-gradient"]
    assert "torch.no_grad()" in found.message
    assert found.modules == ("fc1",)


def test_steps_that_bfloat16_rounds_away_are_told() -> None:
    text = net("return self.fc2(F.relu(self.fc1(x)))")
    options = {"precision": "bfloat16", "optimizer": "sgd", "learning_rate": 1e-6}
    assert "parameters-unchanged" in loud(text, **options)
    options["learning_rate"] = 0.1
    assert loud(text, **options) == {}


def test_saturated_units_are_told() -> None:
    init = "nn.init.constant_(self.fc1.bias, 20.0)"
    assert "saturated-units" in loud(net("return self.fc2(torch.sigmoid(self.fc1(x)))", init))


def test_what_is_zero_at_first_by_design_is_silent() -> None:
    text = net(
        "x = self.fc1(x)\nx = x + self.gamma * self.inner(x)\nreturn self.fc2(F.relu(x))",
        """
        self.inner = nn.Linear(32, 32)
        self.gamma = nn.Parameter(torch.zeros(32))
        nn.init.zeros_(self.fc2.weight)
        """,
    )
    assert loud(text) == {}
