"""`nnlint check`: lint model files. The default command."""

from __future__ import annotations

from typing import Any

import click

from nnlint.cli import options as shared

_STDIN = (
    click.option(
        "--stdin-filename",
        default="",
        metavar="PATH",
        help="Name of the file whose text PATH `-` reads from standard input.",
    ),
)
_NO_MODELS = (
    click.option(
        "--allow-no-models",
        is_flag=True,
        help="Exit with 0 where the paths hold no model, as hooks and editors need.",
    ),
)


@click.command(name="check", short_help="Lint model files.")
@click.argument("paths", nargs=-1, metavar="PATH...")
@shared.grouped(
    shared.RULES, _STDIN, shared.MODEL, shared.LIMITS, shared.OUTPUT, _NO_MODELS, shared.END
)
def command(paths: tuple[str, ...], **options: Any) -> int:
    """Lint model files, folders, or one model of a file (model.py:Net).

    The files' models are imported, built and traced in a child process with a time and a memory
    limit: lint only code that you would run.

    Exit codes: 0 nothing at or above --fail-on, 1 findings, 2 wrong usage, configuration, or an
    internal error.
    """
    from nnlint.cli.checking import check

    return check(paths, **options)
