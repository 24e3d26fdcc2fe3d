from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from nnlint.linter.discover import Project, Source, Target, discover
from nnlint.linter.discover.recipes import Construction

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


@pytest.fixture
def across(tmp_path: Path) -> Callable[..., dict[str, Target]]:
    """Discover the models of one file of a project, by name; the files are given by path."""

    def find(path: str, files: dict[str, str]) -> dict[str, Target]:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))
        project = Project(tmp_path, relative=False)
        source = Source.parse(str(tmp_path / path), (tmp_path / path).read_text())
        return {target.name: target for target in discover(source, project)}

    return find


BUILDING = """\
import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, *args, **kwargs):
        super().__init__()
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(x)


class Block(nn.Module):
    def __init__(self, width, depth=1):
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x):
        return self.fc(x)


"""


def _built(text: str) -> Construction:
    targets = _found(BUILDING + textwrap.dedent(text))
    return targets["Net"].constructions[0]


@pytest.fixture
def built() -> Callable[[str], Construction]:
    """Return how `Net`, which takes anything, is built by a source text."""
    return _built
