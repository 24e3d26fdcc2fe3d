"""Write the documentation that is made from the code: the rule pages and the JSON schemas.

Usage: python docs/generate.py [--check]
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

from nnlint.cli.formats.json import json_schema as report_schema
from nnlint.linter.config_table import json_schema as config_schema
from nnlint.linter.rules.base import Category, Rule, all_rules

DOCS = Path(__file__).parent


def outputs() -> dict[Path, str]:
    """Return every generated file with its text."""
    pages = {DOCS / "rules" / f"{rule.name}.md": page(rule) for rule in all_rules()}
    return pages | {
        DOCS / "rules" / "index.md": index(),
        DOCS / "schema" / "config.json": json.dumps(config_schema(), indent=2) + "\n",
        DOCS / "schema" / "report.json": json.dumps(report_schema(), indent=2) + "\n",
    }


def page(rule: type[Rule]) -> str:
    """Return the page of one rule."""
    facts = [f"**{rule.code}**", str(rule.severity), str(rule.category), f"since {rule.since}"]
    if not rule.default:
        facts.append("off by default")
    head = f"# {rule.name}\n\n{', '.join(facts)}\n\n"
    return head + inspect.cleandoc(rule.__doc__ or "").rstrip() + "\n"


def index() -> str:
    """Return the table of all rules by category."""
    lines = ["# Rules", ""]
    for category in Category:
        lines += [
            f"## {category.value.title()}",
            "",
            "| code | name | severity | summary |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {rule.code} | [{rule.name}]({rule.name}.md) | {rule.severity} | {rule.summary()} |"
            for rule in all_rules()
            if rule.category is category
        ]
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Write the files, or with --check say which of them differ."""
    wanted = outputs()
    stale = [p for p, text in wanted.items() if not p.exists() or p.read_text("utf-8") != text]
    extra = sorted(set((DOCS / "rules").glob("*.md")) - set(wanted))
    if "--check" in sys.argv:
        for path in (*stale, *extra):
            print(f"{path.relative_to(DOCS.parent)} is not current; run `make gen`")
        return int(bool(stale or extra))
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], "utf-8")
    for path in extra:
        path.unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
