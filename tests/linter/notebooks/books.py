"""Notebooks made for tests."""

from __future__ import annotations

import json
from collections.abc import Callable

from nnlint.linter.findings import Report

Lint = Callable[..., Report]


def notebook(*cells: str) -> str:
    """Return a notebook with these code cells, each after some Markdown."""
    content = []
    for cell in cells:
        content.append({"cell_type": "markdown", "source": ["Some = words"]})
        content.append({"cell_type": "code", "source": cell.splitlines(keepends=True)})
    return json.dumps({"cells": content, "nbformat": 4}, indent=1)
