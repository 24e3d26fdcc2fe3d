"""The report that people look at: one HTML file that needs nothing but a browser.

`content.py` says what of a report is shown, `charts.py`, `curves.py` and `sections.py` draw it as
specifications of Vega-Lite, `page.html`, `page.css` and `page.js` are the page around them. The
library itself comes from vl-convert-python, and stands in the file once.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from nnlint.errors import UsageError

if TYPE_CHECKING:
    from nnlint.linter.findings import Report

__all__ = ["check_report", "html_of", "write_html"]


def check_report() -> None:
    """Raise UsageError where what the page is made with is not installed.

    It is better told before a minute of probing.
    """
    for name in ("jinja2", "vl_convert"):
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"the HTML report needs {name}", hint="pip install 'nnlint[report]'")


def html_of(report: Report) -> str:
    """Return a report as one page; charts are there for what was probed.

    Raises:
        UsageError: What the page is made with is not installed.
    """
    check_report()
    from nnlint.cli.report.page import page

    return page(report)


def write_html(report: Report, path: str) -> None:
    """Write a report as one page into a file.

    Raises:
        UsageError: The file cannot be written, or what the page is made with is not installed.
    """
    text = html_of(report)
    try:
        Path(path).write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
