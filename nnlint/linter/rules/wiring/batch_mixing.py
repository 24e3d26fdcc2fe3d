"""The rule batch-mixing (NNL508)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators import arithmetic as math_ops
from nnlint.linter.operators import linear, moving, normalisation
from nnlint.linter.operators.base import Family
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.wiring.batch_layout import REGROUPING, Layout, Scramble, track
from nnlint.linter.rules.wiring.liveness import is_root, reaches

# What these take in dimension 0 are samples, whatever the model's input looks like.
_PER_SAMPLE = linear.CONVOLUTIONS | linear.TRANSPOSED_CONVOLUTIONS | {normalisation.BATCH_NORM}
_POOLING = frozenset(
    {math_ops.MEAN, math_ops.SUM, math_ops.MAX, math_ops.AMAX, math_ops.AMIN, math_ops.MIN}
)
# What keeps every value in its place.
_IN_PLACE = frozenset({Family.PASS, Family.DROPOUT, Family.ACTIVATION, Family.NORM})


class BatchMixing(Rule):
    """Samples of a batch influence one another.

    ## What it does
    Finds reshapes that deal the values of one sample out to others, and recurrent or attention
    layers that run over the batch because they expect the sequence in dimension 0.

    ## Why is this bad?
    All shapes fit, training runs, and the loss falls a little; but what the model says of a sample
    depends on its neighbours in the batch, and nothing of that holds at inference.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(8, 32, bidirectional=True, batch_first=True)
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            out, (h, c) = self.lstm(x)
            return self.head(h.view(x.size(0), -1))  # h is (directions, batch, features)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(8, 32, bidirectional=True, batch_first=True)
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            out, (h, c) = self.lstm(x)
            return self.head(h.transpose(0, 1).reshape(x.size(0), -1))
    ```

    ## How it is decided
    Shapes are carried through the graph for two batch sizes, which shows where the batch is, also
    inside a merged dimension (`view(B * T, C)`). A reshape is reported when the result has the
    batch as a dimension of its own, but its rows hold parts of several samples. A sequence-first
    layer is reported when a convolution or batch norm shows that samples are in dimension 0
    (error), or when dimension 1 of its result is averaged or its last element taken, as if that
    were the sequence (warning). Merging and separating again, batch norm, similarity matrices,
    and statistics over the batch are fine.

    ## Known limits
    A value whose batch is split on purpose (segments of a video) is not followed further. Softmax
    over the batch is the rule softmax-over-batch.

    ## References
    - https://karpathy.github.io/2019/04/25/recipe/
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html
    """

    name = "batch-mixing"
    code = "NNL508"
    severity = Severity.ERROR
    category = Category.WIRING
    probe = "batch-leak"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Report scrambling reshapes, then sequence layers that run over the batch."""
        sequence_first = [n for n in graph.nodes if _is_sequence_first(n)]
        if not sequence_first and not any(graph.ops(*REGROUPING)):
            return
        layouts, scrambles = track(graph)
        if scrambles:
            live = reaches(graph, root=is_root, passes=lambda _source, _user: True)
            for scramble in scrambles:
                node = scramble.node
                if node in live and node.training and not _is_undone(scramble, layouts):
                    yield self._reshape(graph, scramble)
        samples_first = _samples_first(graph) if sequence_first else set()
        for node in sequence_first:
            source, layout = node.input, layouts.get(node.input) if node.input else None
            if source in samples_first and layout is not None and _is_batch_first(layout):
                yield self._runs_over_batch(graph, node, layout)
            elif (pooled := _pooled_as_sequence(node)) is not None:
                yield self._pools_batch(graph, node, pooled)
        if any(_is_unclear(n, layouts) for n in graph.ops(*REGROUPING)):
            yield NotChecked("the shapes around a reshape are not known; give them with --input")

    def _reshape(self, graph: ModelGraph, scramble: Scramble) -> Finding:
        before, after = scramble.before, scramble.after
        return self.finding(
            graph,
            scramble.node,
            f"this reshape mixes samples: in {list(before.shape)} the batch is"
            f" {'inside ' if before.outer * before.inner > 1 else ''}dimension {before.dim}, and"
            f" dimension {after.dim} of {list(after.shape)} takes its place without a transpose",
            help="move the batch dimension first, e.g. x.transpose(0, 1), then reshape",
            evidence={"before": list(before.shape), "after": list(after.shape)},
        )

    def _runs_over_batch(self, graph: ModelGraph, node: Node, layout: Layout) -> Finding:
        kind = type(node.module).__name__
        return self.finding(
            graph,
            node,
            f"{kind} without batch_first=True takes dimension 0 of {list(layout.shape)} as the"
            " sequence, but that is the batch: it runs across samples",
            help=f"build the {kind} with batch_first=True, or transpose its input and output",
            evidence={"shape": list(layout.shape)},
        )

    def _pools_batch(self, graph: ModelGraph, node: Node, pooled: Node) -> Finding:
        kind = type(node.module).__name__
        return self.finding(
            graph,
            pooled,
            f"dimension 1 is treated as the sequence here, but {kind} without batch_first=True has"
            " the batch there and runs over dimension 0",
            help=f"build the {kind} with batch_first=True if the input is (batch, sequence, ...)",
            severity=Severity.WARNING,
            modules=[node.path],
        )


def _is_unclear(node: Node, layouts: dict[Node, Layout]) -> bool:
    """Tell whether a reshape may touch the batch and nobody knows."""
    if node.op is moving.FLATTEN and node.arg("start_dim", 0) not in (0, None):
        return False
    if node.input is None or node.input.kind == "param" or node.input in layouts:
        return node.info.batch is None and node.input in layouts
    return node.input.info.batch is None


def _is_sequence_first(node: Node) -> bool:
    module = node.module
    if module is None or not node.family(Family.RECURRENT, Family.ATTENTION):
        return False
    for layer in module.modules():
        if isinstance(first := getattr(layer, "batch_first", None), bool):
            return not first
    return False


def _is_batch_first(layout: Layout) -> bool:
    sizes = layout.shape
    return layout.dim == 0 and len(sizes) == 3 and sizes[0] == layout.samples and sizes[1] > 1


def _samples_first(graph: ModelGraph) -> set[Node]:
    """Return the values that come from a layer which has samples in dimension 0 for certain."""
    found: set[Node] = set()
    for node in graph.nodes:
        sure = node.op in _PER_SAMPLE and node.info.batch == (0,)
        if sure or (node.kind == "op" and any(i in found for i in node.inputs)):
            found.add(node)
    return found


def _is_undone(scramble: Scramble, layouts: dict[Node, Layout]) -> bool:
    """Tell whether all that follows are elementwise steps and the way back."""
    stack, seen = list(scramble.node.users), 0
    while stack:
        node = stack.pop()
        seen += 1
        if node.op in REGROUPING:
            layout = layouts.get(node)
            if layout is None or layout.stride != scramble.before.stride:
                return False
        elif node.family(Family.PASS, Family.DROPOUT, Family.ACTIVATION) and seen < 20:
            stack.extend(node.users)
        else:
            return False
    return seen > 0


def _pooled_as_sequence(node: Node) -> Node | None:
    """Return the call that averages over dimension 1 of the result, or takes its last element."""
    stack = [node] if node.op is linear.TRANSFORMER_LAYER else _first_of(node)
    for _ in range(20):
        if not stack:
            return None
        current = stack.pop()
        shape = current.info.shape
        if shape is not None and (len(shape) != 3 or shape[1] == 1):
            continue
        for user in current.users:
            if not user.training:
                continue
            if user.op is moving.GETITEM and _takes_last(user.args.get("index")):
                return user
            if user.op in _POOLING and user.arg("dim") in (1, -2, (1,), [1], (-2,), [-2]):
                return user
            if user.family(*_IN_PLACE):
                stack.append(user)
    return None


def _first_of(node: Node) -> list[Node]:
    return [u for u in node.users if u.op is moving.GETITEM and u.args.get("index") == 0]


def _takes_last(index: object) -> bool:
    if not isinstance(index, tuple) or len(index) < 2:
        return False
    whole = isinstance(index[0], slice) and index[0] == slice(None)
    return whole and index[1] == -1 and type(index[1]) is int
