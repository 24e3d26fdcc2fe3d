"""What a caller has done with each model in its worker, after the rules have seen it.

The linter knows nothing of what a task is. It hands over the live model, in the process in which
the user's code runs, and hands back plain data.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from nnlint.linter.discover.source import Source
    from nnlint.linter.discover.targets import Target
    from nnlint.linter.findings import Finding
    from nnlint.linter.graph import ModelGraph
    from nnlint.linter.settings import ModelSettings
    from nnlint.linter.trace.convert import BuiltAt
    from nnlint.linter.trace.positions import UserCode


@dataclass(frozen=True, slots=True)
class Work:
    """What a task gets.

    Attributes:
        model: The live model, in training mode.
        target: What discovery knows of it.
        source: The file it stands in.
        settings: What the user says about it.
        graph: Its graph, None where it could not be traced.
        code: Tells the user's frames.
        built_at: Tells where a layer was built.
        options: The order's.
    """

    model: torch.nn.Module
    target: Target
    source: Source
    settings: ModelSettings
    graph: ModelGraph | None
    code: UserCode
    built_at: BuiltAt
    options: Mapping[str, object]


# Returns JSON-compatible data. What it raises becomes a finding.
Task = Callable[[Work], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task gave for one model; exactly one of `data` and `finding` is there.

    Attributes:
        path: The file, as the user gave it.
        model: Name of the model.
        data: What the task returned.
        finding: Why it returned nothing.
    """

    path: str
    model: str
    data: Mapping[str, Any] | None = None
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A task to be done with each model.

    Attributes:
        task: "package.module:function" of a `Task`; imported in the worker alone.
        options: Plain values for it.
        take: Called in the parent with each result, in the thread that drives the file.
        seconds: How long the task of one model may take, beyond the file's own limit.
    """

    task: str
    options: Mapping[str, object]
    take: Callable[[TaskResult], None]
    seconds: float


def resolve(name: str) -> Task:
    """Return the function that "package.module:function" names."""
    module, _, function = name.partition(":")
    found: Task = getattr(importlib.import_module(module), function)
    return found
