"""Options that several commands have, as groups of decorators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

Decorator = Callable[[Any], Any]

SEVERITIES = click.Choice(["error", "warning", "note"])

RULES: Sequence[Decorator] = (
    click.option(
        "--select",
        multiple=True,
        metavar="RULES",
        help="Rules to run: names, codes, code prefixes (NNL1) or ALL; comma-separated, repeatable.",
    ),
    click.option(
        "--ignore", multiple=True, metavar="RULES", help="Rules to leave out, written likewise."
    ),
    click.option(
        "--fail-on",
        type=click.Choice(["error", "warning", "note", "never"]),
        help="Lowest severity that gives exit code 1.  [default: warning]",
    ),
    click.option(
        "--show", type=SEVERITIES, help="Lowest severity that is printed.  [default: note]"
    ),
    click.option(
        "--output-format",
        "formats",
        multiple=True,
        metavar="FORMAT[:FILE]",
        help="text, json, sarif, github or html, to standard output or into a file; repeatable.  "
        "[default: text]",
    ),
)
MODEL: Sequence[Decorator] = (
    click.option(
        "--arg",
        "arguments",
        multiple=True,
        metavar="[NAME=]VALUE",
        help="Constructor argument of the model: a Python literal, else a string; repeatable.",
    ),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="[NAME=]SHAPE[:TYPE]",
        help="Input of forward, such as 2x3x224x224 or ids=2x128:int64; repeatable.",
    ),
    click.option(
        "--loss",
        default="",
        metavar="NAME",
        help="Loss that the model's output meets, such as cross_entropy.",
    ),
)
LIMITS: Sequence[Decorator] = (
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Time that one file may take.  [default: 60]",
    ),
    click.option(
        "--memory-limit", metavar="SIZE", help="Memory that one file may take.  [default: 8GB]"
    ),
    click.option(
        "--config",
        "config_file",
        default="",
        metavar="FILE",
        help="Configuration file instead of the nearest pyproject.toml.",
    ),
    click.option("--isolated", is_flag=True, help="Read no configuration file."),
)
OUTPUT: Sequence[Decorator] = (
    click.option(
        "--show-suppressed", is_flag=True, help="Also print findings that a comment suppresses."
    ),
    click.option(
        "--path-base",
        default="",
        metavar="DIR",
        help="Folder that SARIF paths are relative to.  [default: the current one]",
    ),
    click.option("--statistics", is_flag=True, help="Count the findings of each rule."),
    click.option(
        "-q", "--quiet", is_flag=True, help="Print findings only: no summary, no progress."
    ),
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        help="Also print which checks passed, and why others could not be made.",
    ),
    click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="Colour; NO_COLOR and FORCE_COLOR are respected.",
    ),
)
END: Sequence[Decorator] = (
    click.option("--exit-zero", is_flag=True, help="Exit with 0 whatever is found."),
)


def grouped(*groups: Sequence[Decorator]) -> Decorator:
    """Return a decorator that adds the options of all groups, in order."""

    def decorate(function: Any) -> Any:
        for group in reversed(groups):
            for decorator in reversed(group):
                function = decorator(function)
        return function

    return decorate
