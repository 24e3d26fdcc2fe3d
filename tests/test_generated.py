"""What is generated from the code is current."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_generated_documentation_is_current() -> None:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    wanted = generate.outputs()
    stale = [p.name for p, t in wanted.items() if not p.exists() or p.read_text("utf-8") != t]
    extra = set((DOCS / "rules").glob("*.md")) - set(wanted)
    assert not stale, "run `make gen`"
    assert not extra, "run `make gen`"
