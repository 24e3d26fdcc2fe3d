"""One operator for every spelling, and a table that fits the installed torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnlint.linter.operators import activation, loss, moving
from nnlint.linter.operators.base import Operator, bind, resolve, table


@pytest.mark.parametrize(
    "spelling",
    [
        F.relu,
        F.relu_,
        torch.relu,
        torch.relu_,
        torch.ops.aten.relu.default,
        torch.ops.aten.relu_.default,
    ],
)
def test_every_function_spelling_of_relu_is_one_operator(spelling: object) -> None:
    match = table().function(spelling)  # type: ignore[arg-type] # callables all
    assert match is not None
    assert match.op is activation.RELU


def test_modules_methods_and_in_place_forms_are_the_same_operator() -> None:
    assert table().module(nn.ReLU) is activation.RELU
    for name in ("relu", "relu_"):
        match = table().method(name)
        assert match is not None
        assert match.op is activation.RELU


def test_a_subclass_of_a_layer_is_that_layer() -> None:
    class Narrow(nn.CrossEntropyLoss):
        pass

    assert table().module(Narrow) is loss.CROSS_ENTROPY
    assert table().module(nn.Module) is None


@pytest.mark.parametrize("op", table().by_name.values(), ids=repr)
def test_every_operator_names_things_that_exist(op: Operator) -> None:
    names = [f"torch.nn.{n}" for n in op.modules] + list(op.functions)
    methods = [n.lstrip(".") for n in op.methods]
    found = [n for n in names if resolve(n) is not None]
    found += [n for n in methods if hasattr(torch.Tensor, n) or hasattr(torch.Tensor, f"{n}_")]
    found += [n for n in op.aten if hasattr(torch.ops.aten, n)]
    assert found or not (names or methods or op.aten)


def test_aten_arguments_get_our_names() -> None:
    match = table().function(torch.ops.aten.view.default)
    assert match is not None
    assert match.op is moving.VIEW
    assert match.params == ("input", "shape")
    embedding = table().function(torch.ops.aten.embedding.default)
    assert embedding is not None
    assert embedding.params[:2] == ("weight", "input")


def test_binding_collects_the_rest_and_understands_axis() -> None:
    assert bind(("input", "*shape"), ("x", 2, -1), {}) == {"input": "x", "shape": (2, -1)}
    assert bind(("input", "dim"), ("x",), {"axis": 1}) == {"input": "x", "dim": 1}
    assert bind(("input",), ("x", 3), {"p": 0.5}) == {"input": "x", "arg1": 3, "p": 0.5}
