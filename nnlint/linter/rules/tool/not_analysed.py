"""The rule not-analysed (NNL004)."""

from __future__ import annotations

from nnlint.linter.findings import Severity
from nnlint.linter.rules.base import ToolRule


class NotAnalysed(ToolRule):
    """A model could not be built, since nnlint lacks what it needs.

    ## What it does
    Reports a model whose constructor or factory has parameters without a default, and says how to
    give them; or one that gives no single `torch.nn.Module`.

    ## Why is this bad?
    It is no fault of the model, but no rule has seen it.

    ## Example
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self, classes):
            super().__init__()
            self.head = nn.Linear(10, classes)

        def forward(self, x):
            return self.head(x)
    ```

    ## Use instead
    Name the arguments on the command line (`--arg 2`), in `pyproject.toml`, or as defaults:
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self, classes=2):
            super().__init__()
            self.head = nn.Linear(10, classes)

        def forward(self, x):
            return self.head(x)
    ```

    ## How it is decided
    The parameters of the constructor or factory are compared with the arguments that the
    configuration gives.

    ## Known limits
    Arguments that are neither numbers, strings, nor lists of these cannot be given from outside:
    write a function without parameters that returns the model, and it is linted in its place.

    ## References
    - https://docs.python.org/3/tutorial/controlflow.html#default-argument-values
    """

    name = "not-analysed"
    code = "NNL004"
    severity = Severity.NOTE
