"""The rule import-failed (NNL001)."""

from __future__ import annotations

from nnlint.linter.findings import Severity
from nnlint.linter.rules.base import ToolRule


class ImportFailed(ToolRule):
    """The file, or a model in it, cannot be run.

    ## What it does
    Reports a file that does not parse, and a model whose definitions raise when they are executed,
    or that raises when it is built or called. Also one that crashes Python or ends the program.

    ## Why is this bad?
    The model would fail in training just the same, and nothing else can be said about it until it
    runs.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Linear(10, 20)
            self.head = nn.Linear(self.features.width, 2)

        def forward(self, x):
            return self.head(torch.relu(self.features(x)))
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Linear(10, 20)
            self.head = nn.Linear(self.features.out_features, 2)

        def forward(self, x):
            return self.head(torch.relu(self.features(x)))
    ```

    ## How it is decided
    What a model needs of its file is run in a child process with a limit on time and memory, on
    the CPU, with its output kept aside: definitions, imports and plain assignments, no training
    loops, downloads or programs. The finding stands at the innermost line of the file in the
    traceback, or of the stack at the moment of the crash.

    ## Known limits
    A constructor that needs a GPU or a data set by itself fails here though it runs on another
    machine.

    ## References
    - https://docs.python.org/3/reference/import.html
    """

    name = "import-failed"
    code = "NNL001"
    severity = Severity.ERROR
