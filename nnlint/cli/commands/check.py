"""`nnlint check`: lint model files. The default command."""

from __future__ import annotations

from typing import Any

import click

_SEVERITIES = click.Choice(["error", "warning", "note"])


@click.command(name="check", short_help="Lint model files.")
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option(
    "--select",
    multiple=True,
    metavar="RULES",
    help="Rules to run: names, codes, code prefixes (NNL1) or ALL; comma-separated, repeatable.",
)
@click.option(
    "--ignore", multiple=True, metavar="RULES", help="Rules to leave out, written likewise."
)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "note", "never"]),
    help="Lowest severity that gives exit code 1.  [default: warning]",
)
@click.option("--show", type=_SEVERITIES, help="Lowest severity that is printed.  [default: note]")
@click.option(
    "--output-format",
    "formats",
    multiple=True,
    metavar="FORMAT[:FILE]",
    help="text, json, sarif or github, to standard output or into a file; repeatable.  [default: text]",
)
@click.option(
    "--stdin-filename",
    default="",
    metavar="PATH",
    help="Name of the file whose text PATH `-` reads from standard input.",
)
@click.option(
    "--arg",
    "arguments",
    multiple=True,
    metavar="[NAME=]VALUE",
    help="Constructor argument of the model: a Python literal, else a string; repeatable.",
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]SHAPE[:TYPE]",
    help="Input of forward, such as 2x3x224x224 or ids=2x128:int64; repeatable.",
)
@click.option(
    "--loss",
    default="",
    metavar="NAME",
    help="Loss that the model's output meets, such as cross_entropy.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Time that one file may take.  [default: 60]",
)
@click.option(
    "--memory-limit", metavar="SIZE", help="Memory that one file may take.  [default: 8GB]"
)
@click.option(
    "--config",
    "config_file",
    default="",
    metavar="FILE",
    help="Configuration file instead of the nearest pyproject.toml.",
)
@click.option("--isolated", is_flag=True, help="Read no configuration file.")
@click.option(
    "--show-suppressed", is_flag=True, help="Also print findings that a comment suppresses."
)
@click.option(
    "--path-base",
    default="",
    metavar="DIR",
    help="Folder that SARIF paths are relative to.  [default: the current one]",
)
@click.option("--statistics", is_flag=True, help="Count the findings of each rule.")
@click.option("-q", "--quiet", is_flag=True, help="Print findings only: no summary, no progress.")
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Also print which checks passed, and why others could not be made.",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colour; NO_COLOR and FORCE_COLOR are respected.",
)
@click.option(
    "--allow-no-models",
    is_flag=True,
    help="Exit with 0 where the paths hold no model, as hooks and editors need.",
)
@click.option("--exit-zero", is_flag=True, help="Exit with 0 whatever is found.")
def command(paths: tuple[str, ...], **options: Any) -> int:
    """Lint model files, folders, or one model of a file (model.py:Net).

    The files' models are imported, built and traced in a child process with a time and a memory
    limit: lint only code that you would run.

    Exit codes: 0 nothing at or above --fail-on, 1 findings, 2 wrong usage, configuration, or an
    internal error.
    """
    from nnlint.cli.checking import check

    return check(paths, **options)
