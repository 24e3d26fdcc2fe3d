"""The tutorial's commands print what the page shows, and its figures are there."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
TEXT = PAGE.read_text("utf-8")
BLOCKS = re.findall(r"```console\n\$ nnlint ([^\n]+)\n(.*?)```", TEXT, re.DOTALL)
LEFT_OUT = "..."
NUMBER = re.compile(r"(?<![A-Za-z\d.:])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![A-Za-z\d:])")
BARS = re.compile(r"[▁▂▃▄▅▆▇█▏▎▍▌▋▊▉]+ *")
# Sums are in another order with another number of threads.
TOLERANCE = 0.1


def parts(line: str) -> tuple[str, list[float]]:
    """Return a line without its numbers, drawings and widths of columns; and the numbers."""
    plain = BARS.sub("| ", line)
    numbers = [float(each.replace(",", "")) for each in NUMBER.findall(plain)]
    words = re.sub(r"\s+", " ", NUMBER.sub("#", plain)).strip()
    return re.sub(r"─+", "-", words).replace("threads", "thread"), numbers


def same(shown: str, printed: str) -> bool:
    """Tell whether two lines say the same, with numbers that are much alike."""
    (words, numbers), (others, values) = parts(shown), parts(printed)
    return words == others and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-9)
        for a, b in zip(numbers, values, strict=True)
    )


def missing(shown: list[str], printed: list[str]) -> str | None:
    """Return the first line of a page that does not come, None where all come in their order."""
    at, loose = 0, False
    for line in shown:
        if line == LEFT_OUT:
            loose = True
            continue
        end = len(printed) if loose else at + 1
        found = next((i for i in range(at, min(end, len(printed))) if same(line, printed[i])), None)
        if found is None:
            return line
        at, loose = found + 1, False
    return None if loose or at == len(printed) else "(the end of the output)"


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_a_command_prints_what_the_tutorial_shows(command: str, shown: str) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "nnlint", *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
    )
    assert found.returncode in {0, 1}, found.stderr
    assert missing(shown.splitlines(), found.stdout.splitlines()) is None, found.stdout


def test_each_of_the_six_chapters_has_a_command_and_a_figure_that_is_there() -> None:
    chapters = re.split(r"^## \d\. .*\n", TEXT, flags=re.MULTILINE)[1:]
    assert len(chapters) == 6
    for chapter in chapters:
        assert "$ nnlint " in chapter
        figures = re.findall(r"!\[[^\]]+\]\(([^)]+\.svg)\)", chapter)
        assert figures
        for figure in figures:
            assert (PAGE.parent / figure).read_text("utf-8").startswith("<svg")
            assert (PAGE.parent / figure).stat().st_size < 50_000


@pytest.mark.parametrize("changed", ["loss 2.9", "another word", "3 samples"])
def test_a_line_that_says_something_else_is_not_taken_for_the_shown_one(changed: str) -> None:
    assert missing(["a", LEFT_OUT, changed], ["a", "b", "loss 2.3", "4 samples", "a word"])


def test_lines_that_are_left_out_may_be_any_but_no_others() -> None:
    assert missing(["a", LEFT_OUT, "d"], ["a", "b", "c", "d"]) is None
    assert missing(["a", "d"], ["a", "b", "c", "d"]) == "d"
    assert missing(["a"], ["a", "b"]) == "(the end of the output)"
