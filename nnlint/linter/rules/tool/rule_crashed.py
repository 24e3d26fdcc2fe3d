"""The rule rule-crashed (NNL002)."""

from __future__ import annotations

from nnlint.linter.findings import Severity
from nnlint.linter.rules.base import ToolRule


class RuleCrashed(ToolRule):
    """A rule of nnlint failed with an exception of its own.

    ## What it does
    Reports that a check could not be finished because nnlint has a defect there.

    ## Why is this bad?
    The model may have the trouble that the rule looks for: it was not checked.

    ## Example
    The fault is never in the model. This one is as good as any.
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(10, 2)

        def forward(self, x):
            return self.head(x)
    ```

    ## Use instead
    Leave the rule out with `--ignore` until it is mended.
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(10, 2)

        def forward(self, x):
            return self.head(x)
    ```

    ## How it is decided
    Every rule runs on its own; what it raises is caught and reported, and the other rules go on.

    ## Known limits
    None.

    ## References
    - https://docs.python.org/3/library/exceptions.html
    """

    name = "rule-crashed"
    code = "NNL002"
    severity = Severity.ERROR
    example_fires = False
