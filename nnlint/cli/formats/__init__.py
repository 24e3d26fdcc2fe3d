"""The output formats, one file each; the file's name is the format's, its `FORMAT` renders."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nnlint.errors import UsageError
from nnlint.linter.findings import Report


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What the command line says about the output.

    Attributes:
        color: Whether terminal colours are wanted.
        width: Columns to wrap at.
        hidden: How many findings `--show` left out of the report.
        show_suppressed: Whether suppressed findings belong to the output.
        verbose: Whether the outcome of each check belongs to it.
        quiet: Whether the summary is left out.
        statistics: Whether the findings are counted by rule.
        path_base: Directory that paths are made relative to in SARIF; "" for the current one.
        ascii: Whether only ASCII can be written, apart from what the user's files hold.
    """

    color: bool = False
    width: int = 100
    hidden: int = 0
    show_suppressed: bool = False
    verbose: bool = False
    quiet: bool = False
    statistics: bool = False
    path_base: str = ""
    ascii: bool = False


class Format(Protocol):
    """One way to write a report."""

    name: str

    def render(self, report: Report, options: RenderOptions) -> str:
        """Return the whole output, with a final newline unless it is empty."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A format and where it goes: a file, or standard output for "".."""

    format: str
    path: str = ""


def format_names() -> list[str]:
    """Return the names of all formats without importing them."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def load_format(name: str) -> Format:
    """Import one format."""
    found: Format = importlib.import_module(f"{__name__}.{name}").FORMAT
    return found


def parse_destinations(values: Sequence[str]) -> tuple[Destination, ...]:
    """Read the values of `--output-format`, each `FORMAT` or `FORMAT:FILE`.

    Raises:
        UsageError: For an unknown format, an empty file name, and a second format on stdout.
    """
    names = format_names()
    found = []
    for value in values:
        # Only the first colon separates: C:\report.json has one of its own.
        name, separator, path = value.partition(":")
        if name not in names:
            close = difflib.get_close_matches(name.lower(), names, 1)
            raise UsageError(
                f"unknown output format {name!r}",
                hint=f"did you mean {close[0]!r}?" if close else f"one of: {', '.join(names)}",
            )
        if separator and not path:
            raise UsageError(f"--output-format {value} names no file", hint=f"{name}:FILE")
        found.append(Destination(name, "" if path == "-" else path))
    if sum(not place.path for place in found) > 1:
        raise UsageError(
            "at most one output format can go to standard output",
            hint="give the others a file: --output-format text --output-format json:report.json",
        )
    paths = [place.path for place in found if place.path]
    if twice := {path for path in paths if paths.count(path) > 1}:
        raise UsageError(f"two output formats would write {min(twice)!r}")
    return tuple(found)
