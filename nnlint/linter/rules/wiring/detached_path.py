"""The rule detached-path (NNL505)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.base import Family
from nnlint.linter.rules.assumptions import asked, ifs_around
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.wiring.gradients import (
    Gradients,
    Trained,
    trained_parameters,
    without_twins,
    writes_parameters,
)
from nnlint.linter.rules.wiring.liveness import has_effect, is_root, reaches
from nnlint.linter.rules.wiring.modules import listing

_NAMED = 3


class DetachedPath(Rule):
    """The only way from some trainable parameters to the result is cut for gradients.

    ## What it does
    Finds `detach()`, `.data`, `.item()`, `argmax`, rounding and `torch.no_grad()` in forward that
    cut every gradient path from a parameter to the loss or the outputs.

    ## Why is this bad?
    What lies before the cut keeps its random initial weights for ever, while the loss still falls
    a little: the layers behind the cut learn to live with it.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(20, 64)
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            x = torch.relu(self.encoder(x))
            x = x.detach()
            return self.head(x)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(20, 64)
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            x = torch.relu(self.encoder(x))
            return self.head(x)
    ```

    ## How it is decided
    A parameter is cut when its values reach a loss or an output, but none of these ways carries a
    gradient. Frozen parameters, the targets of a loss, networks that have a trained twin (teachers,
    moving averages), parameters that forward itself writes, and straight-through estimators
    (`x + (q - x).detach()`) are left alone. A whole sub-model under `torch.no_grad()` is a note: it
    is usually meant to stay frozen. So is a cut that an `if` in forward makes: it is a choice.

    ## Known limits
    Cuts outside forward and the loss call are not seen. A model whose outputs all carry no
    gradient is not judged without a loss.

    ## References
    - https://docs.pytorch.org/docs/stable/notes/autograd.html
    """

    name = "detached-path"
    code = "NNL505"
    severity = Severity.WARNING
    category = Category.WIRING
    probe = "no-gradient"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Report the cutting node of each group of parameters."""
        if not any(n.family(Family.STOP) or not n.grad for n in graph.nodes if n.kind == "op"):
            return
        gradients = Gradients(graph)
        graded = reaches(
            graph,
            root=lambda n: is_root(n) or (has_effect(n) and n.grad),
            passes=lambda _source, user: gradients.open(user),
        )
        trained = trained_parameters(graph)
        cut = [t for t in trained if not any(n in graded and gradients.open(n) for n in t.users)]
        counted = reaches(graph, root=is_root, passes=gradients.carries)
        cut = [t for t in cut if any(n in counted for n in t.users)]
        if not cut:
            yield from self._cut_loss(graph, gradients)
            return
        if len(cut) == len(trained) and not graph.losses:
            yield NotChecked("no output carries a gradient and no loss is known")
            return
        cut = without_twins(cut, trained, graph)
        if not cut:
            return
        if writes_parameters(graph):
            yield NotChecked("the file trains or updates layers by hand")
            return
        for node, members in _cutters(graph, cut, counted, gradients).items():
            if node.family(Family.STOP) or not node.grad:
                yield self._report(graph, node, members)

    def _cut_loss(self, graph: ModelGraph, gradients: Gradients) -> Iterator[Finding]:
        """Report the cut between the model's only output and its losses in training code."""
        losses = graph.losses
        whole = all(use.certain for use in graph.uses) and len(graph.outputs) == 1
        if not whole or not losses or not all(loss.stitched for loss in losses):
            return
        graded = reaches(
            graph,
            root=lambda n: n.kind == "op" and is_root(n),
            passes=lambda _source, user: gradients.open(user),
        )
        output = graph.outputs[0]
        if output in graded:
            return
        counted = reaches(graph, root=lambda n: n in losses, passes=gradients.carries)
        fed = {output}
        for node in graph.nodes:
            if node.stitched and node in counted and any(i in fed for i in node.inputs):
                if gradients.open(node):
                    fed.add(node)
                elif node.family(Family.STOP):
                    yield self._report(graph, node, trained_parameters(graph))
                    return

    def _report(self, graph: ModelGraph, node: Node, cut: list[Trained]) -> Finding:
        values = sum(t.tensor.numel() for t in cut)
        owners = list(dict.fromkeys(t.name.rpartition(".")[0] or t.name for t in cut))
        tops = dict.fromkeys(t.name.partition(".")[0] for t in cut)
        named = listing(tops if len(owners) > _NAMED else owners)
        what = "torch.no_grad()" if not node.grad else node.op.name if node.op else "this"
        meant = _is_frozen_part(graph, node, cut, list(tops)) or _is_chosen(graph, node)
        return self.finding(
            graph,
            node if node.grad else node.call or node.location,
            f"{what} cuts the only gradient path of {named} ({values:,} trainable parameters)",
            help="remove the cut, or say that they stay as they are: requires_grad_(False)",
            severity=Severity.NOTE if meant else None,
            evidence={"parameters": values},
            modules=owners,
        )


def _cutters(
    graph: ModelGraph, cut: list[Trained], counted: set[Node], gradients: Gradients
) -> dict[Node, list[Trained]]:
    """Return the nodes where the gradient paths of the cut parameters end, each with its share."""
    readers: dict[Node, list[Trained]] = {}
    for trained in cut:
        for node in trained.users:
            readers.setdefault(node, []).append(trained)
    fed: set[Node] = set()
    groups: dict[Node, list[Trained]] = {}
    taken: set[str] = set()
    seen: set[Node] = set()
    blocked: Node | None = None
    for node in graph.nodes:
        if node.kind != "op" or not (node in readers or any(i in fed for i in node.inputs)):
            continue
        if gradients.open(node):
            fed.add(node)
            continue
        if node not in counted:
            continue
        # All that happens under no_grad is one cut.
        blocked = blocked or (None if node.grad else node)
        members = groups.setdefault(node if node.grad or blocked is None else blocked, [])
        stack = [node]
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            fresh = [t for t in readers.get(current, ()) if t.name not in taken]
            members.extend(fresh)
            taken.update(t.name for t in fresh)
            stack.extend(i for i in current.inputs if i in fed)
    return {node: members for node, members in groups.items() if members}


def _is_frozen_part(graph: ModelGraph, node: Node, cut: list[Trained], tops: list[str]) -> bool:
    """Tell whether a whole sub-model is cut off, by no_grad or as it came from elsewhere."""
    if len(tops) != 1:
        return False
    part = getattr(graph.model, tops[0], None)
    if part is None or not hasattr(part, "children") or next(part.children(), None) is None:
        return False
    whole = sum(p.requires_grad for p in part.parameters()) == len(cut)
    return whole and (not node.grad or not _is_own(graph, type(part)))


def _is_chosen(graph: ModelGraph, node: Node) -> bool:
    """Tell whether a condition on something else than training decides about a cut."""
    return not node.stitched and any(
        asked(each.test) for each in ifs_around(graph.source, node.location)
    )


def _is_own(graph: ModelGraph, cls: type) -> bool:
    return cls.__module__ == type(graph.model).__module__ or cls.__module__.startswith("torch.")
