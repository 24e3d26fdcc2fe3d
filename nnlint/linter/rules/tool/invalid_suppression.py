"""invalid-suppression: a comment for nnlint that nnlint does not understand."""

from __future__ import annotations

from nnlint.linter.findings import Severity
from nnlint.linter.rules.base import Category, ToolRule


class InvalidSuppression(ToolRule):
    """A comment starts with `nnlint:` but suppresses nothing, or not what it seems to.

    ## What it does
    Reports comments with a misspelt directive, an unknown rule, no rule at all, or text after the
    brackets that is no reason.

    ## Why is this bad?
    The author believes that a finding is suppressed, and the reader believes that somebody looked
    at it. A comment without a rule would also hide findings that nobody has seen yet; that form
    does not exist.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 3)  # nnlint: ignore

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
    Comments are read with Python's tokenizer, so text in strings never counts. Understood are
    `# nnlint: ignore[rule-name, NNL101] -- reason`, at the end of a line for the statement on it or
    on a line of its own for the next statement, and `# nnlint: file-ignore[rule-name] -- reason`
    for the whole file. A comment holds for findings on its lines, and for findings about a layer
    that is built or called there, or about the class that starts there.

    ## Known limits
    After a syntax error the rest of the file is not read.

    ## References
    `nnlint rule unused-suppression` is about suppressions that are no longer needed.
    """

    name = "invalid-suppression"
    code = "NNL006"
    severity = Severity.WARNING
    category = Category.TOOL
