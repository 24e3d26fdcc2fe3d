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
            self.layouts = {"rows": torch.clone, "columns": torch.t}
            self.head = nn.Linear(10, 2)

        def forward(self, x, layout):
            if layout not in self.layouts:
                raise ValueError(f"no layout {layout}")
            return self.head(self.layouts[layout](x))
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layouts = {"rows": torch.clone, "columns": torch.t}
            self.head = nn.Linear(10, 2)

        def forward(self, x, layout="rows"):
            if layout not in self.layouts:
                raise ValueError(f"no layout {layout}")
            return self.head(self.layouts[layout](x))
    ```

    ## How it is decided
    `torch.fx` runs forward with symbols in place of tensors. Where the code asks a symbol for its
    value (`if x.sum() > 0`, `for row in x`), a copy of the model is run on small tensors instead,
    and what it calls is recorded. The inputs are searched for: names of parameters and layers say
    where to begin, and each run that fails says what it would have needed. Where no run goes
    through, the finding stands at the line that stopped the one that came furthest.

    ## Known limits
    Of control flow that depends on the values of tensors, one way is recorded.

    ## References
    - https://docs.pytorch.org/docs/stable/fx.html#limitations-of-symbolic-tracing
    """

    name = "not-traced"
    code = "NNL003"
    severity = Severity.NOTE
