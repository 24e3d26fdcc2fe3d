"""`nnlint summary`: layers, shapes, parameters, and predicted activations and gradients."""

from __future__ import annotations

from typing import Any

import click

from nnlint.cli import options as shared

_FORM = (
    click.option(
        "--format",
        "form",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="How to write the table.",
    ),
    click.option("--html", default="", metavar="FILE", help="Also write a page."),
    click.option("-q", "--quiet", is_flag=True, help="No progress."),
    click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="Colour; NO_COLOR and FORCE_COLOR are respected.",
    ),
)


@click.command(name="summary", short_help="Show a model's layers and predicted gradients.")
@click.argument("paths", nargs=-1, metavar="PATH...")
@shared.grouped(_FORM, shared.MODEL, shared.LIMITS)
def command(paths: tuple[str, ...], **options: Any) -> int:
    """Show the layers of models, with predicted activations and gradients.

    For each layer its shape, its parameters, what initialised them, and the sizes of its
    activations and gradients as they are predicted without a run (docs/signal.md).

    The files' models are imported, built and traced in a child process, as for `nnlint check`.

    Exit codes: 0 a summary of every model, 1 some model could not be analysed, 2 wrong usage,
    configuration, or an internal error.
    """
    from nnlint.cli.summarising import summarise

    return summarise(paths, **options)
