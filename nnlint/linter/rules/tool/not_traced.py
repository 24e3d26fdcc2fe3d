"""The rule not-traced (NNL003)."""

from __future__ import annotations

from nnlint.linter.findings import Severity
from nnlint.linter.rules.base import ToolRule


class NotTraced(ToolRule):
    """A model was built, but its forward could not be followed.

    ## What it does
    Reports a model whose operations could not be recorded, so that no rule has seen it.

    ## Why is this bad?
    It is no fault of the model, but its silence is not a clean bill of health either.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(10, 2)

        def forward(self, x):
            x = self.head(x)
            if x.sum() > 0:
                return x
            return -x
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(10, 2)

        def forward(self, x):
            x = self.head(x)
            return torch.where(x.sum() > 0, x, -x)
    ```

    ## How it is decided
    `torch.fx` runs forward with symbols in place of tensors. Where the code asks a symbol for its
    value (`if x.sum() > 0`, `for row in x`), it gives up at that line.

    ## Known limits
    Control flow that depends on the values of tensors has no single graph.

    ## References
    - https://docs.pytorch.org/docs/stable/fx.html#limitations-of-symbolic-tracing
    """

    name = "not-traced"
    code = "NNL003"
    severity = Severity.NOTE
