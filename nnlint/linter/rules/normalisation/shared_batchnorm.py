"""The rule shared-batchnorm (NNL308)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph, Node, data_inputs
from nnlint.linter.operators.base import Family
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.normalisation import flow

_LAYERS = frozenset({Family.LINEAR, Family.RECURRENT, Family.ATTENTION, Family.EMBEDDING})
# The neighbouring layer is near, and the first calls show the pattern: longer searches would cost
# time that grows with the square of the graph.
_SEARCHED = 64


class SharedBatchNorm(Rule):
    """One batch norm normalises the outputs of different layers.

    ## What it does
    Finds a batch norm that forward calls at several places on different values.

    ## Why is this bad?
    In training each call normalises with the statistics of its own input, but all of them write
    into the same running mean and variance. Evaluation then uses a mixture that fits no place.

    ## Example
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3)
            self.conv2 = nn.Conv2d(16, 16, 3)
            self.bn = nn.BatchNorm2d(16)

        def forward(self, x):
            x = self.bn(self.conv1(x)).relu()
            return self.bn(self.conv2(x)).relu()
    ```

    ## Use instead
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3)
            self.bn1 = nn.BatchNorm2d(16)
            self.conv2 = nn.Conv2d(16, 16, 3)
            self.bn2 = nn.BatchNorm2d(16)

        def forward(self, x):
            x = self.bn1(self.conv1(x)).relu()
            return self.bn2(self.conv2(x)).relu()
    ```

    ## How it is decided
    Calls are grouped by the running statistics that they share. It is a warning, at the second
    call, unless the layer before (or behind) the batch norm is shared by all calls as well: then
    a whole branch is reused (siamese networks, recurrence, heads over a pyramid), which is a note.
    Without running statistics only the scale and the offset are shared: a note too.

    ## Known limits
    Whether the distributions really differ is not measured.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html
    - Cooijmans et al., Recurrent Batch Normalization, https://arxiv.org/abs/1603.09025
    """

    name = "shared-batchnorm"
    code = "NNL308"
    severity = Severity.WARNING
    category = Category.NORMALISATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each batch norm with several calls on different values."""
        groups: dict[int, list[Node]] = {}
        for node in filter(flow.is_batch_norm, graph.nodes):
            shared = node.parameter("running_mean")
            shared = node.parameter("weight") if shared is None else shared
            if shared is not None and flow.uses_batch_statistics(node):
                groups.setdefault(id(shared), []).append(node)
        for calls in groups.values():
            distinct = list({call.input: call for call in reversed(calls)}.values())[::-1]
            if len(distinct) > 1:
                yield self._found(graph, distinct)

    def _found(self, graph: ModelGraph, calls: list[Node]) -> Finding:
        statistics = all(map(flow.keeps_statistics, calls))
        reused = _common(calls, data_inputs) or _common(calls, flow.data_users)
        mixed = (
            f"its running mean and variance mix {len(calls)} distributions"
            if statistics
            else "its scale and offset are shared"
        )
        places = [call.call for call in calls if call.call is not None]
        return self.finding(
            graph,
            calls[1],
            f"one batch norm is called {len(calls)} times on different values: {mixed}",
            help=(
                "fine if the branch is shared on purpose and its inputs are alike"
                if reused
                else "give each place a batch norm of its own"
            ),
            severity=None if statistics and not reused else Severity.NOTE,
            related=[
                Related(place, "it is called here as well")
                for place in places
                if place != calls[1].location
            ],
            evidence={"calls": len(calls)},
        )


def _common(calls: list[Node], step: Callable[[Node], object]) -> bool:
    """Tell whether all calls have a neighbouring layer in common, in the direction of `step`."""
    layers = [_neighbours(call, step) for call in calls[:_SEARCHED]]
    return bool(set.intersection(*layers))


def _neighbours(call: Node, step: Callable[[Node], object]) -> set[int]:
    """Return the weights of the layers that come next in one direction."""
    return {key for key in islice(_walk(call, step), _SEARCHED) if key is not None}


def _walk(call: Node, step: Callable[[Node], object]) -> Iterator[int | None]:
    seen: set[Node] = set()
    stack = [call]
    while stack:
        for node in reversed(list(step(stack.pop()))):  # type: ignore[call-overload]
            if node in seen:
                continue
            seen.add(node)
            if node.family(*_LAYERS):
                owner = node.parameter("weight")
                yield id(node.module if owner is None else owner)
            else:
                yield None
                stack.append(node)
