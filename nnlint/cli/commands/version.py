"""`nnlint version`: what to put into a bug report."""

from __future__ import annotations

import platform

import click

from nnlint import __version__


def torch_version() -> str:
    """Return the installed version of torch without importing it."""
    import importlib.metadata

    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def versions() -> str:
    """Return the versions in one line, nnlint's own first."""
    return f"nnlint {__version__} (Python {platform.python_version()}, torch {torch_version()})"


@click.command(name="version")
def command() -> None:
    """Print the versions of nnlint, Python and torch."""
    from nnlint.cli.console import write_stdout

    write_stdout(versions() + "\n")
