"""The rule missing-zero-grad (NNL510)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from nnlint.linter.discover.names import Names
from nnlint.linter.discover.source import Source
from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph
from nnlint.linter.rules.base import Category, NotChecked, Rule

# What clears gradients, or shows that the file takes care of them in a way of its own.
_CLEARS = ("zero_grad", ".grad", "set_to_none", "clear_grad")
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_OPTIMIZERS = "torch.optim."


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop that steps an optimiser whose gradients nothing clears."""

    node: ast.stmt
    backward: ast.Call
    step: ast.Call


class MissingZeroGrad(Rule):
    """A training loop never clears the gradients, so that they add up over all steps.

    ## What it does
    Finds loops of the model's file that call `backward` and the `step` of an optimiser of
    torch.optim, where nothing in the file clears gradients.

    ## Why is this bad?
    `backward` adds to `grad`. Without `zero_grad` each step goes along the sum of the gradients of
    all steps so far: momentum that never decays. The loss falls at first, then swings or diverges.

    ## Example
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(20, 5)

        def forward(self, x):
            return self.head(x)


    def train(batches):
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in batches:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
    ```

    ## Use instead
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(20, 5)

        def forward(self, x):
            return self.head(x)


    def train(batches):
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
    ```

    ## How it is decided
    By the text of the file that defines the model: an optimiser of torch.optim is made outside of
    the loop, the loop calls `backward` and that optimiser's `step`, and the model's output meets
    its loss in the loop or in a function that the loop calls. `zero_grad`, or any mention of a
    `.grad`, anywhere in the file is taken for care. So is a call in the loop that is given the
    optimiser or the object that holds it, since it may clear them.

    ## Known limits
    A loop in another file than the model's is not looked at.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html
    """

    name = "missing-zero-grad"
    code = "NNL510"
    severity = Severity.WARNING
    category = Category.WIRING

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield each loop that trains this model."""
        source = graph.source
        if source is None or any(clear in source.text for clear in _CLEARS):
            return
        lines = [
            place.line
            for use in graph.uses
            if use.training
            for place in (use.location, use.through)
            if place is not None and place.path == source.path
        ]
        for loop in _loops(source):
            if not any(_reaches(source, loop, line) for line in lines):
                continue
            yield self.finding(
                graph,
                source.location(loop.step),
                "no gradient is ever cleared: each step goes along the sum of the gradients of all"
                " steps so far",
                help=f"call {ast.unparse(loop.step.func).rpartition('.')[0]}.zero_grad() before "
                "each backward",
                related=[Related(source.location(loop.backward), "this adds to the gradients")],
            )


def _loops(source: Source) -> Iterator[_Loop]:
    optimizers = dict(_optimizers(source))
    for node in ast.walk(source.tree):
        if not isinstance(node, _LOOPS):
            continue
        calls = [each for each in ast.walk(node) if isinstance(each, ast.Call)]
        backward = next((call for call in calls if _called(call) == "backward"), None)
        step = next((call for call in calls if _steps(call, optimizers)), None)
        if backward is None or step is None or _hands_over(calls, step):
            continue
        made = optimizers[_receiver(step)]
        inside = any(made is each for each in ast.walk(node))
        inner = any(_within(other, node) and _holds(other, step) for other in ast.walk(node))
        if not inside and not inner:
            yield _Loop(node, backward, step)


def _optimizers(source: Source) -> Iterator[tuple[str, ast.AST]]:
    """Yield what optimisers are called, "optimizer" or "self.optimizer", and where they are made."""
    names = Names.of(source.tree)
    for node in ast.walk(source.tree):
        match node:
            case ast.Assign(
                targets=[ast.Name() | ast.Attribute() as target], value=ast.Call() as call
            ):
                dotted = names.resolve(call.func) or ""
                if dotted.startswith(_OPTIMIZERS) and dotted.count(".") == 2:
                    yield ast.unparse(target), node


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _receiver(call: ast.Call) -> str:
    return ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""


def _steps(call: ast.Call, optimizers: dict[str, ast.AST]) -> bool:
    # A closure given to it may clear gradients, and is called with no loop around.
    return _called(call) == "step" and not call.args and _receiver(call) in optimizers


def _hands_over(calls: list[ast.Call], step: ast.Call) -> bool:
    """Tell whether a call is given the optimiser, or an object that holds it."""
    receiver = _receiver(step)
    owners = {receiver, receiver.rpartition(".")[0]} - {""}
    for call in calls:
        given = {ast.unparse(each) for each in (*call.args, *(k.value for k in call.keywords))}
        if given & owners:
            return True
    return False


def _within(node: ast.AST, outer: ast.AST) -> bool:
    return isinstance(node, _LOOPS) and node is not outer


def _holds(loop: ast.AST, call: ast.Call) -> bool:
    return any(each is call for each in ast.walk(loop))


def _reaches(source: Source, loop: _Loop, line: int) -> bool:
    """Tell whether a line is in the loop, or in a function that the loop calls by name."""
    if loop.node.lineno <= line <= (loop.node.end_lineno or loop.node.lineno):
        return True
    called = {
        each.func.id
        for each in ast.walk(loop.node)
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
    }
    return any(
        isinstance(each, ast.FunctionDef)
        and each.name in called
        and each.lineno <= line <= (each.end_lineno or each.lineno)
        for each in ast.walk(source.tree)
    )
