"""Scripts in the syntax of older Pythons, made readable; nothing of them is ever run.

A script that trains a model is evidence even where today's Python could not run it.
"""

from __future__ import annotations

import re

from nnlint.linter.discover.source import Source

_REWRITES = (
    # `cuda(async=True)`: a name of the same length keeps the columns.
    (re.compile(r"\basync(?=\s*=[^=])"), "Async"),
    (re.compile(r"\.async\b"), ".Async"),
    # `print "text"` becomes an expression, which may go on over several lines.
    (re.compile(r"(^|[:;])([ \t]*)(print|exec)[ \t]*>>", re.MULTILINE), r"\1\2\3|"),
    (
        re.compile(r"(^|[:;])([ \t]*)(print|exec)[ \t](?=[ \t]*[^\s(=.,)\]|])", re.MULTILINE),
        r"\1\2\3|",
    ),
    (re.compile(r"\bexcept[ \t]+([\w., ()]+?)[ \t]*,[ \t]*(\w+)[ \t]*:"), r"except \1 as \2:"),
    (re.compile(r"^([ \t]*raise[ \t]+[\w.]+)[ \t]*,", re.MULTILINE), r"\1 or "),
    (re.compile(r"<>"), "!="),
    (re.compile(r"`([^`\n]+)`"), r"(\1)"),
    (re.compile(r"\b(0[xX][0-9a-fA-F]+|\d+)[lL]\b"), r"\1"),
    (re.compile(r"\b0+(?=[1-9]\d*\b)(?<![\w.]0)"), ""),
    (re.compile(r"\b[uU][rR](?=[\"'])"), "r"),
)


def parse_tolerantly(path: str, text: str) -> Source:
    """Parse a file, in an older Python's syntax if need be, with each line at its place.

    Raises:
        SyntaxError: It is in no syntax that is known here.
    """
    try:
        return Source.parse(path, text)
    except SyntaxError:
        readable = text.expandtabs(8)
        for pattern, replacement in _REWRITES:
            readable = pattern.sub(replacement, readable)
        if readable == text:
            raise
        return Source.parse(path, readable)
