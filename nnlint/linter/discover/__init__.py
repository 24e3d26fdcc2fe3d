"""What a project's source says, without running it: its models and the losses they meet."""

from __future__ import annotations

import re

from nnlint.linter.discover.project import Project
from nnlint.linter.discover.source import Source
from nnlint.linter.discover.targets import UNKNOWN, OutputUse, Step, Target

__all__ = [
    "UNKNOWN",
    "OutputUse",
    "Project",
    "Source",
    "Step",
    "Target",
    "discover",
    "may_hold_models",
]

_LAYER = re.compile(r"\bnn\b|Sequential|Linear|Conv|LSTM|GRU|RNN")
_TORCH = re.compile(r"torch|lightning")
# A file may have its base classes, and torch itself, from another one.
_DERIVED = re.compile(r"^[ \t]*class[ \t]+\w+[ \t]*\(\s*\w", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*(from[ \t]+[.\w]+[ \t]+)?import\b", re.MULTILINE)


def may_hold_models(text: str) -> bool:
    """Tell by the text alone whether a file is worth parsing."""
    if _TORCH.search(text):
        return True
    return "def forward" in text and bool(_DERIVED.search(text) and _IMPORT.search(text))


def discover(
    source: Source, project: Project | None = None, *, adopt: bool = False
) -> tuple[Target, ...]:
    """Return the models of a file, each with the places where its output ends.

    Args:
        source: The file.
        project: The files around it, which may build its models and feed their output to a loss.
        adopt: Whether models that it builds of other files' classes count where it has no others.
    """
    # Files without torch are the many; a look at the text is cheaper than a walk.
    if not adopt and not may_hold_models(source.text):
        return ()
    # Rules name this package's types; what walks a file is needed only here.
    from nnlint.linter.discover.adopted import adopted
    from nnlint.linter.discover.runs import run_of, runs_around
    from nnlint.linter.discover.select import Selection

    project = project or Project()
    unit = project.add(source)
    targets: tuple[Target, ...] = ()
    if any(info.module for info in unit.classes.values()) or _LAYER.search(source.text):
        targets = Selection(run_of(unit, project), runs_around(unit, project)).targets()
    if adopt and not targets:
        return adopted(run_of(unit, project))
    return targets
