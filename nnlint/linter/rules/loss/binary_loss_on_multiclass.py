"""binary-loss-on-multiclass: exclusive classes are trained as independent labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nnlint.linter.discover.targets import OutputUse
from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph, Node, sources
from nnlint.linter.operators.base import Family
from nnlint.linter.operators.loss import BINARY, CROSS_ENTROPY, NLL_LOSS
from nnlint.linter.operators.moving import ONE_HOT
from nnlint.linter.rules.assumptions import is_assumed_number
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.loss.origins import SIGMOIDS, fold
from nnlint.linter.rules.loss.predictions import loss_place, predictions, title

_ONE_HOT = "torch.nn.functional.one_hot"
# What leaves a one-hot row one-hot. A sum over rows, for example, makes many labels of it.
_CASTS = frozenset(
    (
        *(".float", ".double", ".half", ".to", ".type", ".type_as", ".cuda", ".cpu"),
        *(".view", ".reshape", ".squeeze", ".unsqueeze"),
        *(".detach", ".contiguous", ".clone", ".requires_grad_"),
    )
)
_TURNS = frozenset((".permute", ".transpose", ".movedim", ".swapaxes"))
# What may stand between the output and an argmax without another meaning of the argmax.
_MONOTONE = frozenset(
    (
        *("detach", "data", "cpu", "cuda", "float", "numpy", "contiguous", "exp", "torch.exp"),
        *("torch.nn.Sigmoid", "torch.nn.Softmax", "torch.nn.LogSoftmax"),
        *(
            f"{place}{name}"
            for place in ("", "torch.", "torch.nn.functional.")
            for name in ("sigmoid", "softmax", "log_softmax")
        ),
    )
)


class BinaryLossOnMulticlass(Rule):
    """A binary loss trains several outputs of which the labels make exactly one true.

    ## What it does
    Reports `BCELoss` and `BCEWithLogitsLoss` on more than two classes where the code shows that
    each sample has one class: the labels are one-hot encoded, the prediction is the argmax, or
    the same output also meets a cross-entropy.

    ## Why is this bad?
    A binary loss asks C independent questions, C - 1 of which have the answer no. The classes do
    not compete, most of the gradient says "no", and the outputs are no distribution. It trains,
    but slower and often to a worse accuracy than a cross-entropy on the class indices.

    ## Example
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(20, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x)


    def train(loader):
        model, criterion = Net(), nn.BCEWithLogitsLoss()
        for x, y in loader:
            criterion(model(x), F.one_hot(y, 5).float()).backward()
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(20, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x)


    def train(loader):
        model, criterion = Net(), nn.CrossEntropyLoss()
        for x, y in loader:
            criterion(model(x), y).backward()
    ```

    ## How it is decided
    For each binary loss that training runs, over more than two classes, one of three proofs is
    sought: `F.one_hot` makes the target and nothing but casts and reshapes follow; `argmax` or
    `max` along the class dimension is taken of the same output; a cross-entropy takes the same
    output. Without a proof the rule is silent. It is silent as well where the output has the
    shape of an input, as reconstructions have.

    ## Known limits
    Labels that the data set encodes are not seen. Training on binary losses with one-hot labels
    can be a choice (with mixed labels, for example); then the finding is to be suppressed.

    ## References
    https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
    """

    name = "binary-loss-on-multiclass"
    code = "NNL107"
    severity = Severity.WARNING
    category = Category.LOSS

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield binary losses whose labels are shown to be exclusive."""
        cores: dict[int, Node] = {}
        exclusive = _met_by_cross_entropy(graph, cores)
        inputs = {node.info.shape for node in graph.nodes if node.kind == "input"}
        for loss, prediction in predictions(graph, BINARY):
            shape = prediction.info.shape
            if shape is None or len(shape) not in (2, 3, 4) or prediction.info.batch != (0,):
                continue
            if shape in inputs:
                continue
            use = _use_of(graph, loss)
            met = exclusive.get(fold(prediction, _before, _first, cores))
            proofs = [_one_hot(loss, use, shape)]
            # Of sequences the text alone does not say which dimension holds the classes.
            if len(shape) != 3:
                proofs += [_picked(graph, loss, use, shape), (0 if met is None else shape[1], met)]
            for classes, place in proofs:
                if classes > 2 and is_assumed_number(graph, classes):
                    yield NotChecked("the number of classes may be one that was assumed")
                    break
                if classes > 2:
                    yield self._found(graph, loss, classes, place)
                    break

    def _found(self, graph: ModelGraph, loss: Node, classes: int, proof: Related | None) -> Finding:
        why = "" if proof is None else f": {proof.message}"
        return self.finding(
            graph,
            loss,
            f"{title(loss)} on {classes} classes of which each sample has one{why}",
            help="use cross_entropy on the logits with the class indices as labels",
            related=[place for place in (*loss_place(graph, loss), proof) if place is not None],
            evidence={"loss": title(loss), "classes": classes},
        )


def _use_of(graph: ModelGraph, loss: Node) -> OutputUse | None:
    if not loss.stitched:
        return None
    return next(
        (u for u in graph.uses if u.location == loss.location and u.sink == loss.target), None
    )


def _one_hot(
    loss: Node, use: OutputUse | None, shape: tuple[int, ...]
) -> tuple[int, Related | None]:
    target = loss.args.get("target")
    if isinstance(target, Node):
        made = sources(target)
        place = made[0].location
        if all(n.op is ONE_HOT for n in made) and place is not None:
            return shape[1], Related(place, "the labels are one-hot encoded")
    steps = use.target_steps if use is not None else ()
    if use is None or _ONE_HOT not in steps:
        return 0, None
    after = steps[steps.index(_ONE_HOT) + 1 :]
    if any(step not in _CASTS | _TURNS for step in after):
        return 0, None
    last = len(shape) > 2 and not any(step in _TURNS for step in after)
    return shape[-1 if last else 1], Related(use.location, "the labels are one-hot encoded")


def _picked(
    graph: ModelGraph, loss: Node, use: OutputUse | None, shape: tuple[int, ...]
) -> tuple[int, Related | None]:
    if not loss.stitched:
        return 0, None
    way = _selections(use)
    for other in graph.uses:
        if other.sink not in ("torch.argmax", "torch.max") or _selections(other) != way:
            continue
        dim = other.kwargs.get(
            "dim", other.kwargs.get("axis", other.args[0] if other.args else None)
        )
        place = _class_dimension(other, len(shape))
        if place is not None and dim in (place.at, place.at - place.rank):
            return shape[1], Related(other.location, "the largest of them is taken as the class")
    return 0, None


@dataclass(frozen=True, slots=True)
class _Place:
    """Which dimension holds the classes, of how many."""

    at: int
    rank: int


def _class_dimension(use: OutputUse, rank: int) -> _Place | None:
    """Follow the classes of an (N, C, ...) output to the end of a use; None where they are lost."""
    place = _Place(1, rank)
    for step in use.steps:
        if step.kind == "item" or step.name in _MONOTONE:
            continue
        args = step.args[0] if step.args and isinstance(step.args[0], tuple) else step.args
        known = all(isinstance(each, int) for each in args)
        match step.name:
            case "permute" if known and len(args) == place.rank:
                place = _Place([each % place.rank for each in args].index(place.at), place.rank)
            case "transpose" if known and len(args) == 2:
                swap = {args[0] % place.rank: args[1] % place.rank}
                swap |= {there: here for here, there in swap.items()}
                place = _Place(swap.get(place.at, place.at), place.rank)
            # Everything but the last dimension becomes rows: (N, H, W, C) -> (N * H * W, C).
            case "view" | "reshape" if len(args) == 2 and args[0] == -1:
                if place.at != place.rank - 1:
                    return None
                place = _Place(1, 2)
            case _:
                return None
    return place


def _selections(use: OutputUse | None) -> tuple[Any, ...]:
    """Return which part of the model's output a use takes."""
    steps = use.steps if use is not None else ()
    return tuple((s.kind, s.name) for s in steps if s.kind in ("item", "attr") and s.name != "data")


def _met_by_cross_entropy(graph: ModelGraph, cores: dict[int, Node]) -> dict[Node, Related]:
    found: dict[Node, Related] = {}
    for loss in graph.of_family(Family.LOSS):
        prediction = loss.args.get("input")
        if loss.op in (CROSS_ENTROPY, NLL_LOSS) and isinstance(prediction, Node) and loss.location:
            place = Related(loss.location, f"{title(loss)} takes the same output")
            found.setdefault(fold(prediction, _before, _first, cores), place)
    return found


def _before(node: Node) -> Sequence[Node]:
    """Return the logits or probabilities before, without passing anything that selects or moves."""
    same = node.family(Family.PASS, Family.DROPOUT, Family.PROBABILITY) or node.op in SIGMOIDS
    return (node.input,) if same and node.input is not None else ()


def _first(node: Node, before: Sequence[Node]) -> Node:
    return before[0] if before else node
