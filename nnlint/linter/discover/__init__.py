"""What a file's source says, without running it: its models and the losses they meet."""

from __future__ import annotations

import re

from nnlint.linter.discover.source import Source
from nnlint.linter.discover.targets import UNKNOWN, OutputUse, Step, Target

__all__ = ["UNKNOWN", "OutputUse", "Source", "Step", "Target", "discover"]

_LAYER = re.compile(r"\bnn\b|Sequential|Linear|Conv|LSTM|GRU|RNN")


def discover(source: Source) -> tuple[Target, ...]:
    """Return the models of a file, each with the places in the file where its output ends."""
    # Files without torch are the many; a substring is cheaper than a walk.
    if "torch" not in source.text and "lightning" not in source.text:
        return ()
    # Rules name this package's types; what walks a file is needed only here.
    from nnlint.linter.discover.classes import collect, functions
    from nnlint.linter.discover.flow import Interpreter
    from nnlint.linter.discover.names import Names
    from nnlint.linter.discover.select import Selection

    names = Names.of(source.tree)
    classes = collect(source, names)
    if not any(info.module for info in classes.values()) and not _LAYER.search(source.text):
        return ()
    run = Interpreter(source, names, classes, functions(source))
    run.run()
    return Selection(source, run).targets()
