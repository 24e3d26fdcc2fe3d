"""Every example gives exactly the findings that it announces, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import nnlint

EXAMPLES = Path(__file__).parents[1] / "examples"
EXPECT = re.compile(r"# expect: ([a-z0-9-]+)(?: (error|warning|note))?")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_gives_exactly_its_findings(path: Path) -> None:
    expected = [
        (number, found[1], found[2])
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        for found in EXPECT.finditer(line)
    ]
    report = nnlint.lint_file(path)
    found = [(f.location.line, f.rule, str(f.severity)) for f in report]
    assert [(line, rule) for line, rule, _ in found] == [(line, rule) for line, rule, _ in expected]
    for (_, _, severity), (_, _, announced) in zip(found, expected, strict=True):
        assert not announced or severity == announced
    assert all(model.analysed for model in report.models)
