"""The rule untrained-backbone (NNL509)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Location, Severity
from nnlint.linter.graph import ModelGraph
from nnlint.linter.rules.base import Category, Rule
from nnlint.linter.rules.wiring.modules import count_parameters, listing

if TYPE_CHECKING:
    import torch

_LIBRARIES = ("torchvision.models", "timm.models")
_SWITCHES = frozenset({"weights", "pretrained", "weights_backbone", "checkpoint_path"})


class UntrainedBackbone(Rule):
    """A torchvision or timm backbone is built without its pretrained weights.

    ## What it does
    Finds sub-models of torchvision and timm that the code asks for without weights.

    ## Why is this bad?
    It need not be. But where data are few, features learnt on ImageNet are most of the accuracy,
    and `weights=None` is the default: forgetting them raises no error.

    ## Example
    ```python
    from torch import nn
    from torchvision.models import resnet18


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = resnet18(weights=None)
            self.head = nn.Linear(1000, 5)

        def forward(self, x):
            return self.head(self.backbone(x))
    ```

    ## Use instead
    ```python
    from torch import nn
    from torchvision.models import resnet18


    class Net(nn.Module):
        def __init__(self, weights="DEFAULT"):
            super().__init__()
            self.backbone = resnet18(weights=weights)
            self.head = nn.Linear(1000, 5)

        def forward(self, x):
            return self.head(self.backbone(x))
    ```

    ## How it is decided
    The sub-module's class lives in torchvision.models or timm.models, and the call that builds it
    passes neither weights nor `pretrained=True`. Files that load a state dict are left alone. Off
    by default: select it by name.

    ## Known limits
    Training from scratch on plenty of data is perfectly fine.

    ## References
    - https://docs.pytorch.org/vision/stable/models.html
    """

    name = "untrained-backbone"
    code = "NNL509"
    severity = Severity.NOTE
    category = Category.WIRING
    default = False

    def check(self, graph: ModelGraph) -> Iterator[Finding]:
        """Report the outermost sub-models of the model libraries that have no weights."""
        if graph.source is None or _loads(graph.source.tree):
            return
        groups: dict[Location, list[tuple[str, torch.nn.Module]]] = {}
        for path, module in _backbones(graph.model):
            place = graph.built_at(module)
            if place is not None and _asks_for_none(graph.source.tree, place):
                groups.setdefault(place, []).append((path, module))
        for place, parts in groups.items():
            count = sum(count_parameters(module) for _, module in parts)
            yield self.finding(
                graph,
                place,
                f"{listing(path for path, _ in parts)} ({count:,} parameters) is built without"
                " pretrained weights",
                help='ask for them, e.g. weights="DEFAULT", unless it is to be trained from scratch',
                evidence={"parameters": count},
                modules=[path for path, _ in parts],
            )


def _is_library(module: torch.nn.Module) -> bool:
    return type(module).__module__.startswith(_LIBRARIES)


def _backbones(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    stack = [("", model)]
    while stack:
        path, module = stack.pop()
        if path and _is_library(module):
            yield path, module
        elif not _is_library(module):
            prefix = f"{path}." if path else ""
            children = list(module.named_children())
            stack.extend((prefix + name, child) for name, child in reversed(children))


def _loads(tree: ast.AST) -> bool:
    return any(isinstance(n, ast.Attribute) and n.attr == "load_state_dict" for n in ast.walk(tree))


def _asks_for_none(tree: ast.AST, place: Location) -> bool:
    """Tell whether the outermost call on a line asks for no weights."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.lineno == place.line]
    for call in calls:
        if any(keyword.arg is None for keyword in call.keywords):
            return False  # **kwargs may hold anything
        given = [k.value for k in call.keywords if k.arg in _SWITCHES]
        positional = [a for a in call.args if not _is_text(a)]
        if any(not _is_off(value) for value in (*given, *positional)):
            return False
    return bool(calls)


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _is_off(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value in (None, False)
