"""Files for earlier versions of PyTorch are linted like others."""

from __future__ import annotations

import pytest
from torch import nn

from nnlint.linter.operators.base import table
from nnlint.linter.operators.normalisation import BATCH_NORM

NET = """
import torch
from torch import nn

class Norm(nn.modules.batchnorm._BatchNorm):
    def _check_input_dim(self, input):
        if input.dim() != 5:
            raise ValueError("5 dimensions are wanted")
        super()._check_input_dim(input)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
        self.norm = Norm(4)

    def forward(self, x):
        x = self.norm(self.conv(x))
        if x.sum() > 0:
            x = x * 2
        return x
"""


def test_a_batch_norm_that_asks_its_base_about_the_rank(lint):
    report = lint(NET)
    assert [(model.name, model.analysed) for model in report.models] == [("Net", True)]


def test_it_is_a_batch_norm_to_the_rules():
    class Norm(nn.modules.batchnorm._BatchNorm):
        pass

    assert table().module(Norm) is BATCH_NORM


def test_the_base_is_as_before_outside_of_it():
    with pytest.raises(NotImplementedError):
        nn.modules.batchnorm._BatchNorm(4)._check_input_dim(None)
