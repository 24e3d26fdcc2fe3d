"""Along which dimension a softmax runs, and where the graph shows that this is the batch."""

from __future__ import annotations

from nnlint.linter.findings import Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators import activation as act
from nnlint.linter.operators import linear, moving, normalisation
from nnlint.linter.operators.base import Family
from nnlint.linter.operators.loss import CLASSIFICATION
from nnlint.linter.rules.loss.predictions import loss_place, predictions

_CONVOLUTIONS = linear.CONVOLUTIONS | linear.TRANSPOSED_CONVOLUTIONS


def is_implicit(node: Node) -> bool:
    """Tell whether torch chooses the dimension of a softmax by the rank of its input."""
    fixed = node.module is not None and not hasattr(node.module, "dim")  # nn.Softmax2d
    return node.op is not act.GUMBEL_SOFTMAX and not fixed and node.arg("dim") is None


def effective_dim(node: Node) -> int | None:
    """Return the dimension that a softmax runs along, counted from the front where possible."""
    rank = node.input.info.rank if node.input is not None else None
    if is_implicit(node):
        # _get_softmax_dim in https://github.com/pytorch/pytorch/blob/main/torch/nn/functional.py
        return None if rank is None else 0 if rank in (0, 1, 3) else 1
    last = -1 if node.op is act.GUMBEL_SOFTMAX else -3
    dim = node.arg("dim", last)
    if not isinstance(dim, int) or rank is None:
        return dim if isinstance(dim, int) else None
    return dim % rank if rank and -rank <= dim < rank else None


class Layout:
    """Where the graph itself shows which dimension is the batch, in one pass."""

    def __init__(self, graph: ModelGraph) -> None:
        self._shown: set[int] = set()
        self._doubted: set[int] = set()
        for node in graph.nodes:
            if _shows_batch(node) or any(n.index in self._shown for n in node.inputs):
                self._shown.add(node.index)
            if _doubts_batch(node) or any(n.index in self._doubted for n in node.inputs):
                self._doubted.add(node.index)
        judged = [
            loss
            for loss, prediction in predictions(graph, CLASSIFICATION)
            if prediction.info.batch == (0,)
            and prediction.info.rank == 2
            and prediction.info.shape
            and prediction.info.shape[1] > 1
        ]
        self.related = loss_place(graph, judged[0]) if judged else []
        self._judged = bool(judged)
        self._given = graph.inputs_given

    def certainty(self, node: Node) -> Severity | None:
        """Return how sure it is that the batch is where it seems to be, None for not at all."""
        if node.index in self._doubted:
            return None
        if node.index in self._shown or self._given:
            return Severity.ERROR
        return Severity.WARNING if self._judged else None


def _shows_batch(node: Node) -> bool:
    """Tell whether an operation by its definition has the batch in front."""
    if node.input is None or node.input.info.batch != (0,):
        return False
    rank = node.input.info.rank or 0
    if node.op in _CONVOLUTIONS:
        weight = node.parameter("weight")
        return weight is not None and rank == weight.dim()
    if node.op is normalisation.BATCH_NORM:
        return True
    if node.family(Family.RECURRENT, Family.ATTENTION):
        return rank == 3 and getattr(node.module, "batch_first", False) is True
    if node.op is moving.FLATTEN:
        default = 1 if node.module is not None else 0
        return rank > 2 and node.arg("start_dim", default) == 1
    if node.op is moving.VIEW:
        shape = node.args.get("shape", ())
        first = shape[0] if isinstance(shape, (tuple, list)) and len(shape) > 1 else None
        return isinstance(first, Node) or (first == -1 and all(isinstance(s, int) for s in shape))
    return False


def _doubts_batch(node: Node) -> bool:
    """Tell whether an operation suggests that what is in front is no batch."""
    if node.family(Family.RECURRENT, Family.ATTENTION):
        return node.module is not None and getattr(node.module, "batch_first", True) is False
    if node.op not in (moving.SQUEEZE, moving.UNSQUEEZE) or node.input is None:
        return False
    nothing = node.arg("dim") is None and node.info.rank == node.input.info.rank
    return node.input.info.batch == (0,) and (node.arg("dim") == 0 or nothing)
