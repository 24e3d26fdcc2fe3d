"""Tables of a documentation page that benchmarks write, between two comments that name them."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import platform
import subprocess
from pathlib import Path

import nnlint

HERE = Path(__file__).resolve().parent


def write_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name: begin -->` and `<!-- name: end -->`.

    Raises:
        ValueError: The page has no such place.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    whole = page.read_text(encoding="utf-8")
    before, found, rest = whole.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} has no section {name!r}")
    page.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def versions() -> str:
    """Return what the numbers were made with."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=10"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    commit = found.stdout.strip() or "no commit"
    date = dt.datetime.now(dt.UTC).date().isoformat()
    torch = importlib.metadata.version("torch")
    python = platform.python_version()
    return f"nnlint {nnlint.__version__} ({commit}), {date}, torch {torch}, Python {python}"
