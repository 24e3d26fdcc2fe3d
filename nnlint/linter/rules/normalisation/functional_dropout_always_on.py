"""The rule functional-dropout-always-on (NNL304)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from nnlint.linter.discover.source import Source
from nnlint.linter.findings import Finding, Location, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.linear import ATTENTION
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.normalisation import flow

# Monte Carlo dropout in a comment, or in the name of a class, a function or an attribute.
_SAID = re.compile(r"monte[\s_-]*carlo|mc[\s_-]*drop", re.IGNORECASE)
_NAMED = re.compile(r"(?<![A-Za-z])mc(?![a-z])|(?<![A-Z])MC(?![a-z])")


class FunctionalDropoutAlwaysOn(Rule):
    """A functional dropout stays on in evaluation mode.

    ## What it does
    Finds `F.dropout` and its relatives without `training=self.training`, and
    `F.scaled_dot_product_attention` with a `dropout_p` that does not depend on the mode.

    ## Why is this bad?
    Functions do not know of `model.eval()`: `training` is True unless the call says otherwise.
    The model goes on dropping values at test time, so its predictions are random and worse.

    ## Example
    ```python
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(20, 64)
            self.head = nn.Linear(64, 5)

        def forward(self, x):
            x = F.relu(self.hidden(x))
            x = F.dropout(x, p=0.5)
            return self.head(x)
    ```

    ## Use instead
    ```python
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(20, 64)
            self.head = nn.Linear(64, 5)

        def forward(self, x):
            x = F.relu(self.hidden(x))
            x = F.dropout(x, p=0.5, training=self.training)
            return self.head(x)
    ```

    ## How it is decided
    The model is traced again in evaluation mode; a dropout that is still on there is reported, so
    a call under `if self.training` is silent. Where the call says `training=True` in so many
    words, that may be meant and is a note; where it passes on another value, the caller decides
    and nothing is said. Monte Carlo dropout is left alone where the line, the function or the
    class says so. An attention whose `dropout_p` is an attribute of the model, whatever the mode, is
    a note where that attribute is 0.

    ## Known limits
    A model that cannot be traced in evaluation mode is not checked.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.dropout.html
    - Gal and Ghahramani, Dropout as a Bayesian Approximation, https://arxiv.org/abs/1506.02142
    """

    name = "functional-dropout-always-on"
    code = "NNL304"
    severity = Severity.ERROR
    category = Category.NORMALISATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each functional dropout that evaluation mode does not switch off."""
        text = _Text(graph.source)
        for node in graph.nodes:
            if _is_idle_attention(node) and (attribute := text.rate_attribute(node)):
                yield self._waiting(graph, node, attribute)
        on = [n for n in graph.nodes if _is_on(n)]
        if not on:
            return
        if all(text.asked(n) == "self.training" for n in on):
            return
        again = graph.evaluate()
        if again is None:
            yield NotChecked("the model cannot be traced in evaluation mode")
            return
        for node in again.nodes:
            if not _is_on(node) or text.names_monte_carlo(node.call):
                continue
            asked = text.asked(node)
            if asked in ("", "True"):
                yield self._found(graph, node, asked)

    def _waiting(self, graph: ModelGraph, node: Node, attribute: str) -> Finding:
        return self.finding(
            graph,
            node,
            f"attention dropout (dropout_p=self.{attribute}, 0 in this model) will stay on in"
            " evaluation mode when it is raised",
            help=f"pass dropout_p=self.{attribute} if self.training else 0.0",
            severity=Severity.NOTE,
        )

    def _found(self, graph: ModelGraph, node: Node, asked: str) -> Finding:
        if node.op is ATTENTION:
            what = f"attention dropout (dropout_p={node.arg('dropout_p'):g})"
            advice = "pass dropout_p=p if self.training else 0.0"
        else:
            what = f"functional dropout (p={flow.rate(node):g})"
            advice = "pass training=self.training, or use nn.Dropout"
        return self.finding(
            graph,
            node,
            f"{what} stays on in evaluation mode{', as training=True says' if asked else ''}",
            help=advice,
            severity=Severity.NOTE if asked else None,
        )


def _is_on(node: Node) -> bool:
    """Tell a functional dropout of the model that is on in the mode that was traced."""
    if node.module is not None or node.stitched:
        return False
    if node.op is ATTENTION:
        p = node.arg("dropout_p", 0.0)
        return isinstance(p, (int, float)) and p > 0
    return flow.drops(node)


def _is_idle_attention(node: Node) -> bool:
    """Tell a call of the attention function with a rate of 0."""
    return (
        node.op is ATTENTION
        and node.module is None
        and not node.stitched
        and node.arg("dropout_p", 0.0) == 0
    )


class _Text:
    """What the source says around a call: the graph knows the values only."""

    def __init__(self, source: Source | None) -> None:
        self._source = source
        self._calls: dict[int, list[ast.Call]] = {}
        self._scopes: list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef] = []
        for node in ast.walk(source.tree) if source is not None else ():
            if isinstance(node, ast.Call):
                for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                    self._calls.setdefault(line, []).append(node)
            elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                self._scopes.append(node)

    def asked(self, node: Node) -> str:
        """Return the text of the call's `training` argument.

        "" where there is none, "unknown" where the call cannot be read. `F.dropout` hands its
        default on like a value that was given, so the graph does not tell.
        """
        if node.op is ATTENTION:
            return ""
        call = self._call(node.call)
        if call is None:
            return "unknown"
        given = {k.arg: k.value for k in call.keywords}
        found = given.get("training") or given.get("train") or next(iter(call.args[2:3]), None)
        if found is not None:
            return ast.unparse(found)
        hidden = None in given or any(isinstance(a, ast.Starred) for a in call.args)
        return "unknown" if hidden else ""

    def rate_attribute(self, node: Node) -> str:
        """Return `rate` where a call of the attention function says `dropout_p=self.rate`."""
        source = self._source
        if source is None or node.call is None or node.call.path != source.path:
            return ""
        for call in self._calls.get(node.call.line, []):
            for keyword in call.keywords:
                match keyword:
                    case ast.keyword("dropout_p", ast.Attribute(ast.Name("self"), name)):
                        return name
        return ""

    def names_monte_carlo(self, at: Location | None) -> bool:
        """Tell whether the line, the one above, the function or the class names it."""
        source = self._source
        if source is None or at is None or at.path != source.path:
            return False
        if any(_says(line) for line in source.lines[max(at.line - 2, 0) : at.line]):
            return True
        around = (s for s in self._scopes if s.lineno <= at.line <= (s.end_lineno or 0))
        return any(_says(s.name) or _SAID.search(ast.get_docstring(s) or "") for s in around)

    def _call(self, at: Location | None) -> ast.Call | None:
        source = self._source
        if source is None or at is None or at.path != source.path:
            return None
        calls = self._calls.get(at.line, [])
        # Without columns in the byte code only the line is known.
        named = (c for c in calls if "dropout" in ast.unparse(c.func).rpartition(".")[2])
        exact = (c for c in calls if source.location(c) == at)
        return next(exact, None) or next(named, None)


def _says(text: str) -> bool:
    return bool(_SAID.search(text) or _NAMED.search(text))
