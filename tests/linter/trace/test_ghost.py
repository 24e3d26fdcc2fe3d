"""What a run leaves on a model is taken back."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from nnlint.linter.trace.ghost import seeded, undone


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.fc.weight.clamp_(-0.01, 0.01)
        self.last = self.norm(self.fc(x))
        return self.last


def test_parameters_buffers_and_attributes_are_as_before() -> None:
    model = Counting()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with undone(model):
        model(torch.randn(8, 4))
        assert not torch.equal(model.fc.weight, before["fc.weight"])
        assert not torch.equal(model.norm.running_mean, before["norm.running_mean"])
    assert model.last is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_they_are_as_before_after_an_error_too() -> None:
    model = Counting()
    before = model.fc.weight.detach().clone()
    with pytest.raises(RuntimeError), undone(model):
        model(torch.randn(8, 3))
    assert torch.equal(model.fc.weight, before)


def test_each_run_draws_the_same_and_disturbs_no_other() -> None:
    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(3), random.getrandbits(32)
    torch.manual_seed(5)
    random.seed(5)
    with seeded():
        first = torch.rand(3), random.getrandbits(32)
    with seeded():
        second = torch.rand(3), random.getrandbits(32)
    assert torch.equal(first[0], second[0])
    assert first[1] == second[1]
    assert torch.equal(torch.rand(3), expected[0])
    assert random.getrandbits(32) == expected[1]
