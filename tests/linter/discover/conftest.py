from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from nnlint.linter.discover import Source, Target, discover

PRELUDE = """\
import copy
import functools
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        return self.fc(x)


"""


def _found(text: str) -> dict[str, Target]:
    source = Source.parse("model.py", textwrap.dedent(text))
    return {target.name: target for target in discover(source)}


@pytest.fixture
def found() -> Callable[[str], dict[str, Target]]:
    """Discover the models of a source text, by name."""
    return _found


@pytest.fixture
def net() -> Callable[[str], Target]:
    """Discover `Net`, defined ahead of a source text that uses it."""
    return lambda text: _found(PRELUDE + textwrap.dedent(text))["Net"]
