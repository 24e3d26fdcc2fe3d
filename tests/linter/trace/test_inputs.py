"""Which inputs are tried on a graph."""

from __future__ import annotations

import torch
from torch import nn

import nnlint
from nnlint.linter.trace import inputs, propagate


class Mismatched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


def test_a_call_that_fails_alike_for_several_sizes_is_enough(monkeypatch):
    tried = []
    run = propagate.run

    def counted(nodes, chosen):
        tried.append(chosen)
        return run(nodes, chosen)

    monkeypatch.setattr(propagate, "run", counted)
    report = nnlint.lint(Mismatched())
    assert "shape-mismatch" in [finding.rule for finding in report]
    assert len(tried) <= inputs.ALIKE + 2
