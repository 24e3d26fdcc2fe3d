"""The rule dropout-rate (NNL306)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.base import Family
from nnlint.linter.operators.linear import ATTENTION
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.normalisation import flow

# Rates above this leave fewer than one value in five; published networks stay below.
HIGH = 0.8


class DropoutRate(Rule):
    """A dropout drops everything, or nearly everything.

    ## What it does
    Finds dropout with p = 1, and with p above 0.8: layers, functions, and the rates that
    recurrent and attention layers take.

    ## Why is this bad?
    With p = 1 nothing gets through, so nothing before the dropout is trained. With p above 0.8
    fewer than one value in five is left. Often p was meant as the share to keep: in PyTorch it is
    the share to drop.

    ## Example
    ```python
    from torch import nn

    model = nn.Sequential(
        nn.Linear(20, 64),
        nn.ReLU(),
        nn.Dropout(0.9),
        nn.Linear(64, 5),
    )
    ```

    ## Use instead
    ```python
    from torch import nn

    model = nn.Sequential(
        nn.Linear(20, 64),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(64, 5),
    )
    ```

    ## How it is decided
    By the number that the call or the layer holds while training. p = 1 is an error, p above 0.8
    a warning; dropout that is switched off does not count.

    ## Known limits
    Dropout inside `nn.TransformerEncoderLayer` and its relatives is not looked at.

    ## References
    - Srivastava et al., Dropout, section A.4, https://jmlr.org/papers/v15/srivastava14a.html
    """

    name = "dropout-rate"
    code = "NNL306"
    severity = Severity.WARNING
    category = Category.NORMALISATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each rate above the limit."""
        for node in graph.nodes:
            p = _rate(node)
            if p is None or p <= HIGH:
                continue
            if p >= 1:
                text = "dropout with p=1 sets every value to 0, nothing before it can learn"
            else:
                text = f"dropout with p={p:g} leaves {100 * (1 - p):.3g} % of the values"
            yield self.finding(
                graph,
                node,
                text,
                help=f"p is the share that is dropped, not the share that is kept{_meant(p)}",
                severity=Severity.ERROR if p >= 1 else None,
                evidence={"p": p},
            )


def _meant(p: float) -> str:
    return f"; to keep {100 * p:.3g} % write {1 - p:.3g}" if p < 1 else ""


def _rate(node: Node) -> float | None:
    """Return the rate that is in force while training."""
    if node.family(Family.DROPOUT):
        return flow.rate(node) if flow.drops(node) else None
    if node.op is ATTENTION:
        found = node.arg("dropout_p", 0.0)
    elif node.family(Family.RECURRENT, Family.ATTENTION) and node.module is not None:
        # A recurrent layer drops between its layers: with one layer there is no such place.
        alone = getattr(node.module, "num_layers", 2) == 1
        found = 0.0 if alone or not node.module.training else getattr(node.module, "dropout", 0.0)
    else:
        return None
    return float(found) if isinstance(found, (int, float)) else None
