"""`nnlint config`: the configuration that holds here, and where each value comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nnlint.linter.config import Config


@click.command(name="config", short_help="Print the configuration that holds for a path.")
@click.argument("path", default=".", metavar="[PATH]")
@click.option(
    "--config",
    "config_file",
    default="",
    metavar="FILE",
    help="Configuration file instead of the nearest pyproject.toml.",
)
@click.option("--isolated", is_flag=True, help="Read no configuration file.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of [tool.nnlint] instead.")
def command(path: str, config_file: str, isolated: bool, schema: bool) -> None:
    """Print the configuration that holds for a path, and where each value comes from."""
    from nnlint.cli.console import escape, write_stdout
    from nnlint.linter.config import load_config
    from nnlint.linter.config_table import json_schema

    if schema:
        write_stdout(json.dumps(json_schema(), indent=2) + "\n")
        return
    chosen = Path(config_file) if config_file else None
    config = load_config(Path(path), path=chosen, isolated=isolated)
    write_stdout(escape(describe(config), keep="\n"))


def describe(config: Config) -> str:
    """Return the values as TOML-like lines, each with its origin."""
    from nnlint.linter.config_table import read_table

    data = read_table(config.data, str(config.path)).model_dump(mode="json", by_alias=True)
    origin = str(config.path) if config.path else "none"
    rows = [
        (f"{key} = {_value(key, value)}", key in config.given)
        for key, value in data.items()
        if key != "probe"
    ]
    given = config.data.get("probe", {})
    # What has no value is up to the probe service.
    rows += [
        (f"probe.{key} = {_value(key, value)}", key in given)
        for key, value in data["probe"].items()
        if value is not None
    ]
    width = min(max(len(text) for text, _ in rows), 60)
    lines = [
        f"{text:{width}}  # {config.path.name if is_given and config.path else 'default'}"
        for text, is_given in rows
    ]
    return "\n".join([f"# file: {origin}", *lines]) + "\n"


def _value(key: str, value: object) -> str:
    if key == "memory-limit" and isinstance(value, int):
        value = f"{value / 1024**3:g}GB"
    return json.dumps(value, ensure_ascii=False)
