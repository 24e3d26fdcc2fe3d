"""Changes to the text of a model file, as a person would make them by mistake.

An edit takes the whole text and returns another. One that finds nothing to change raises: a fault
that was never put in would count as missed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

Edit = Callable[[str], str]

_FUNCTIONAL = "import torch.nn.functional as F\n"


def replace(old: str, new: str) -> Edit:
    """Return an edit that puts `new` wherever `old` stands.

    Raises:
        ValueError: `old` is not there.
    """

    def edit(text: str) -> str:
        if old not in text:
            raise ValueError(f"there is no {old!r}")
        return _with_functional(text.replace(old, new))

    return edit


def substitute(pattern: str, new: str) -> Edit:
    """Return an edit that puts `new` wherever a regular expression matches.

    Raises:
        ValueError: It matches nowhere.
    """

    def edit(text: str) -> str:
        found, count = re.subn(pattern, new, text)
        if not count:
            raise ValueError(f"nothing is like {pattern!r}")
        return _with_functional(found)

    return edit


def after_init(*lines: str) -> Edit:
    """Return an edit that adds lines to the end of the last class's `__init__`.

    Raises:
        ValueError: That class has no `__init__`.
    """

    def edit(text: str) -> str:
        model = [each for each in ast.parse(text).body if isinstance(each, ast.ClassDef)][-1]
        for each in model.body:
            if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                assert each.end_lineno is not None
                rows = text.splitlines()
                rows[each.end_lineno : each.end_lineno] = [f"        {line}" for line in lines]
                return _with_functional("\n".join(rows) + "\n")
        raise ValueError(f"{model.name} has no __init__")

    return edit


def before_head(line: str) -> Edit:
    """Return an edit that adds a line before the one that computes the output."""
    return replace("        return self.head(x)", f"        {line}\n        return self.head(x)")


def output(template: str) -> Edit:
    """Return an edit of what is returned; `{}` stands for what was."""
    return replace("return self.head(x)", f"return {template.format('self.head(x)')}")


def chain(*edits: Edit) -> Edit:
    """Return an edit that makes several, in order."""

    def edit(text: str) -> str:
        for each in edits:
            text = each(text)
        return text

    return edit


def _with_functional(text: str) -> str:
    """Import torch.nn.functional where an edit has brought the first use of it."""
    if re.search(r"\bF\.", text) and _FUNCTIONAL not in text:
        return text.replace("import torch\n", f"import torch\n{_FUNCTIONAL}", 1)
    return text
