"""unused-suppression: a comment hides a finding that does not exist."""

from __future__ import annotations

from nnlint.linter.findings import Severity
from nnlint.linter.rules.base import Category, ToolRule


class UnusedSuppression(ToolRule):
    """A suppression comment names a rule that finds nothing there.

    ## What it does
    Reports each rule in a `# nnlint: ignore[...]` or `# nnlint: file-ignore[...]` comment that
    suppressed no finding in this run.

    ## Why is this bad?
    The comment stays behind when the code is repaired or moved. It then hides the next mistake of
    that kind, and tells readers of a problem that is gone.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 3)  # nnlint: ignore[NNL001] -- it used to fail to load

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x)
    ```

    ## How it is decided
    A named rule is unused when no finding of it lies on the lines that the comment covers, and the
    rule ran on every model of the file and could judge each of them. A rule that is not selected,
    a model that could not be analysed, and a check that could not be made leave it open.

    ## Known limits
    A finding that depends on the constructor's arguments or on the loss may be absent in one run
    and present in another.

    ## References
    `nnlint rule invalid-suppression` describes how suppressions are written.
    """

    name = "unused-suppression"
    code = "NNL005"
    severity = Severity.WARNING
    category = Category.TOOL
