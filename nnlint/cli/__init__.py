"""The command line: parse, call the linter, print. Imports nothing heavy by itself."""

from __future__ import annotations

from nnlint.cli.entry import main

__all__ = ["main"]
