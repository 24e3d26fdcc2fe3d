"""The rule not-analysed (NNL004)."""

from __future__ import annotations

from nnlint.linter.findings import Severity
from nnlint.linter.rules.base import ToolRule


class NotAnalysed(ToolRule):
    """A model could not be built, since nnlint lacks what it needs.

    ## What it does
    Reports a model for whose constructor or factory no arguments were found with which it runs,
    and says how to give them; one that needs a package which is not installed, or more memory or
    time than the limit; or one that gives no single `torch.nn.Module`.

    ## Why is this bad?
    It is no fault of the model, but no rule has seen it.

    ## Example
    ```python
    from pathlib import Path

    from torch import nn


    class Net(nn.Module):
        def __init__(self, vocabulary):
            super().__init__()
            words = Path(vocabulary).read_text().split()
            self.embedding = nn.Embedding(len(words), 8)

        def forward(self, x):
            return self.embedding(x)
    ```

    ## Use instead
    Name the arguments on the command line (`--arg FILE`), in `pyproject.toml`, or ask for less:
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self, words):
            super().__init__()
            self.embedding = nn.Embedding(words, 8)

        def forward(self, x):
            return self.embedding(x)
    ```

    ## How it is decided
    Arguments that the configuration gives stand alone. Otherwise the model is built with its
    defaults, in the ways in which the project builds it, and at last with typical values by name,
    use and annotation. The first way in which it is built and traced counts, and the report says
    which values were assumed.

    ## Known limits
    Arguments that are neither numbers, strings, nor lists of these cannot be given from outside:
    write a function without parameters that returns the model, and it is linted in its place.

    ## References
    - https://docs.python.org/3/tutorial/controlflow.html#default-argument-values
    """

    name = "not-analysed"
    code = "NNL004"
    severity = Severity.NOTE
