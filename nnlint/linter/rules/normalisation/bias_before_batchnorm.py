"""The rule bias-before-batchnorm (NNL303)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph, Node, takes_one
from nnlint.linter.operators import moving, normalisation, pooling
from nnlint.linter.operators.base import Family
from nnlint.linter.operators.linear import LINEAR
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.normalisation import flow

_REMOVES_CONSTANTS = frozenset({normalisation.BATCH_NORM, normalisation.INSTANCE_NORM})
# A constant added to a channel comes out of these as the same constant on the same channel.
_KEEPS_CONSTANTS = frozenset(
    {pooling.MAX_POOL1D, pooling.MAX_POOL2D, pooling.MAX_POOL3D, pooling.CHANNEL_SHUFFLE}
)


class BiasBeforeBatchNorm(Rule):
    """A layer has a bias although the batch norm behind it removes every constant.

    ## What it does
    Finds convolutions and linear layers with a bias whose output goes straight into a batch norm
    or an instance norm.

    ## Why is this bad?
    The norm subtracts the mean of each channel, and the bias with it. The bias changes nothing,
    its gradient is zero up to rounding, and it costs memory and optimiser state. Batch norm has a
    bias of its own.

    ## Example
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)
            self.bn = nn.BatchNorm2d(16)

        def forward(self, x):
            return self.bn(self.conv(x)).relu()
    ```

    ## Use instead
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3, bias=False)
            self.bn = nn.BatchNorm2d(16)

        def forward(self, x):
            return self.bn(self.conv(x)).relu()
    ```

    ## How it is decided
    Every call of the layer must end in a norm that uses the statistics of its batch, and nothing
    else may use the layer's output. Between them only max pooling, casts, and transpositions or
    flattening that keep each bias on a normalised channel of its own are let through. Each place
    of the code is named once.

    ## Known limits
    Layer norm and group norm mix channels and so keep a part of the bias: they are not looked at.
    A reshape that spreads several biases over one channel (a linear layer before a view to an
    image) keeps a part as well, and is not reported.

    ## References
    - Ioffe and Szegedy, Batch Normalization, section 3.2, https://arxiv.org/abs/1502.03167
    """

    name = "bias-before-batchnorm"
    code = "NNL303"
    severity = Severity.NOTE
    category = Category.NORMALISATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each biased layer that is only used before norms."""
        calls: dict[int, list[tuple[Node, Node | None]]] = {}
        for node in filter(flow.is_weighted, graph.nodes):
            bias = node.parameter("bias")
            if bias is not None and bias.requires_grad and node.grad:
                calls.setdefault(id(bias), []).append((node, _norm_behind(node)))
        for places in calls.values():
            layer, norm = places[0]
            if norm is None or any(other is None for _, other in places):
                continue
            bias = layer.parameter("bias")
            kind = norm.op.name.replace("_", " ") if norm.op is not None else ""
            place = norm.location
            yield self.finding(
                graph,
                layer.built or layer.location,
                f"the bias ({0 if bias is None else bias.numel()} values) has no effect: the "
                f"{kind} behind it subtracts it again",
                help="build the layer with bias=False",
                related=[Related(place, f"the {kind} is applied here")] if place else [],
                evidence={"norm": norm.path},
                modules=[layer.path] if layer.path else [],
            )


def _norm_behind(layer: Node) -> Node | None:
    """Return the norm that takes a layer's output and nothing else does."""
    axis = _channel_axis(layer)
    node = layer
    while True:
        users = flow.data_users(node)
        if len(users) != 1 or not takes_one(users[0]):
            return None
        user = users[0]
        if user.op in _REMOVES_CONSTANTS:
            return user if axis == 1 and flow.uses_batch_statistics(user) else None
        axis = _moved(user, node, axis)
        if axis is None:
            return None
        node = user


def _channel_axis(layer: Node) -> int | None:
    """Return the dimension that the bias runs along."""
    if layer.op is not LINEAR:
        return 1
    rank = layer.info.rank
    # Batch norm takes no linear layer's output but (N, C) without a change of shape, mostly.
    return 1 if rank is None else rank - 1


def _moved(user: Node, node: Node, axis: int | None) -> int | None:
    """Follow the bias's dimension through one operation, None where it gets lost."""
    if axis is None:
        return None
    if user.family(Family.PASS) or user.op in _KEEPS_CONSTANTS:
        return axis
    rank = node.info.rank
    if user.op is moving.FLATTEN and user.arg("start_dim", 0) == 1:
        # Each flattened feature gets a channel, and one bias, of its own.
        return 1
    if rank is None:
        return None
    if user.op is moving.VIEW and user.info.rank == 2 and user.info.batch == (0,):
        return 1
    if user.op is moving.TRANSPOSE:
        first, second = user.arg("dim0"), user.arg("dim1")
        if not isinstance(first, int) or not isinstance(second, int):
            return None
        swap = {first % rank: second % rank, second % rank: first % rank}
        return swap.get(axis, axis)
    if user.op is moving.PERMUTE:
        dims = user.arg("dims")
        dims = dims[0] if isinstance(dims, tuple) and dims and isinstance(dims[0], tuple) else dims
        if isinstance(dims, (tuple, list)) and all(isinstance(d, int) for d in dims):
            return [d % rank for d in dims].index(axis)
    return None
