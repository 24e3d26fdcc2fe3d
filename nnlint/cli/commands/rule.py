"""`nnlint rule`: what a rule does, why, and how to repair what it finds."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from nnlint.errors import UsageError

if TYPE_CHECKING:
    from nnlint.linter.rules.base import Rule


def metadata(rule: type[Rule]) -> dict[str, Any]:
    """Return what there is to know about a rule as JSON-compatible data."""
    return {
        "name": rule.name,
        "code": rule.code,
        "severity": rule.severity.value,
        "category": rule.category.value,
        "since": rule.since,
        "default": rule.default,
        "probe": rule.probe or None,
        "summary": rule.summary(),
        "sections": rule.sections(),
    }


def markdown(rule: type[Rule]) -> str:
    """Return a rule's page."""
    default = "on by default" if rule.default else "off by default"
    facts = f"{rule.severity.value}, {rule.category.value}, {default}, since {rule.since}"
    document = inspect.cleandoc(rule.__doc__ or "")
    return f"# {rule.name} ({rule.code})\n\n{facts}\n\n{document}\n"


def listing(rules: Sequence[type[Rule]]) -> str:
    """Return one line for each rule, as a Markdown table."""
    rows = ["| code | name | severity | what it is |", "|---|---|---|---|"]
    for rule in rules:
        severity = rule.severity.value if rule.default else f"{rule.severity.value}, off by default"
        rows.append(f"| {rule.code} | {rule.name} | {severity} | {rule.summary()} |")
    return "\n".join(rows) + "\n"


def show(text: str) -> None:
    """Print Markdown: laid out on a terminal, as it is elsewhere."""
    from nnlint.cli.console import is_terminal, wants_color, write_stdout

    if not is_terminal(sys.stdout):
        write_stdout(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(no_color=not wants_color("auto", sys.stdout), width=None)
    console.width = min(console.width, 100)
    console.print(Markdown(text))


@click.command(name="rule", short_help="Explain a rule, or list all of them.")
@click.argument("keys", nargs=-1, metavar="[NAME|CODE]...")
@click.option("--all", "everything", is_flag=True, help="List all rules.")
@click.option(
    "--output-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Markdown for people, or the metadata as JSON.",
)
def command(keys: tuple[str, ...], everything: bool, output_format: str) -> None:
    """Explain a rule: what it does, why, an example, and how it is decided."""
    if everything == bool(keys):
        raise UsageError("name a rule, or give --all", hint="nnlint rule NAME")
    from nnlint.cli.console import write_stdout
    from nnlint.linter.rules.base import all_rules
    from nnlint.linter.selection import find_rule

    rules = all_rules() if everything else tuple(map(find_rule, keys))
    if output_format == "json":
        import json

        content = [metadata(rule) for rule in rules]
        data = content[0] if len(keys) == 1 else content
        write_stdout(json.dumps(data, indent=2) + "\n")
    elif everything:
        show(listing(rules))
    else:
        show("\n".join(map(markdown, rules)))
