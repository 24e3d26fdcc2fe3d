"""The comments of a source file that speak to nnlint, and the lines that each one covers."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

_DIRECTIVE = re.compile(
    r"#\s*nnlint\s*:\s*(?P<word>[\w-]*)\s*(?P<list>\[(?P<rules>[^\]\[]*)\])?\s*(?P<rest>.*)",
    re.DOTALL,
)
_NO_CODE = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    | {tokenize.ENCODING, tokenize.ENDMARKER}
)


@dataclass(frozen=True, slots=True)
class NamedRule:
    """A rule as it is written in a comment, with its columns (from 1, the end exclusive)."""

    text: str
    column: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment that starts with `nnlint:`.

    Attributes:
        word: What stands before the brackets: "ignore" and "file-ignore" are understood.
        rules: The names in the brackets, None where there are no brackets.
        reason: The text after `--`, None where there is none.
        rest: What follows and is neither a reason nor another comment.
        lines: First and last line that the comment is about.
    """

    line: int
    column: int
    end_column: int
    word: str
    rules: tuple[NamedRule, ...] | None
    reason: str | None
    rest: str
    lines: tuple[int, int]

    @property
    def kind(self) -> Literal["ignore", "file-ignore"] | None:
        """What the comment asks for, None where it asks for nothing that is known."""
        return self.word if self.word in {"ignore", "file-ignore"} else None  # type: ignore[return-value] # the two literals


def read_comments(text: str) -> tuple[Comment, ...]:
    """Return the nnlint comments of a source text, whatever state the text is in."""
    if "nnlint" not in text:
        return ()
    tokens = list(_tokens(text))
    spans = _logical_lines(tokens)
    comments = []
    for token in tokens:
        if token.type == tokenize.COMMENT and (found := _DIRECTIVE.search(token.string)):
            own_line = not token.line[: token.start[1]].strip()
            lines = _covered(token.start[0], spans, own_line=own_line)
            comments.append(_comment(token, found, lines))
    return tuple(comments)


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    reader = io.StringIO(text).readline
    try:
        yield from tokenize.generate_tokens(reader)
    except (tokenize.TokenError, SyntaxError, ValueError):
        # What comes before the error is still read: the file itself is reported elsewhere.
        return


def _logical_lines(tokens: Sequence[tokenize.TokenInfo]) -> list[tuple[int, int]]:
    """Return the first and last line of each statement; decorators go with what they decorate."""
    spans: list[tuple[int, int]] = []
    start, end, decorator = 0, 0, False
    pending = 0
    for token in tokens:
        if token.type == tokenize.NEWLINE:
            if start and decorator:
                pending = pending or start
            elif start:
                spans.append((pending or start, max(end, token.start[0])))
                pending = 0
            start = 0
        elif token.type not in _NO_CODE:
            if not start:
                start, decorator = token.start[0], token.string == "@"
            end = token.end[0]
    if start or pending:
        spans.append((pending or start, end))
    return spans


def _covered(line: int, spans: Sequence[tuple[int, int]], *, own_line: bool) -> tuple[int, int]:
    """Return the statement around a line, or for a comment of its own line the next statement."""
    for first, last in spans:
        if first <= line <= last:
            return first, last
        if own_line and first > line:
            return first, last
    return line, line


def _comment(token: tokenize.TokenInfo, found: re.Match[str], lines: tuple[int, int]) -> Comment:
    rest, reason = found["rest"].strip(), None
    if rest.startswith("--"):
        rest, reason = "", rest[2:].strip()
    elif rest.startswith("#"):
        rest = ""
    return Comment(
        line=token.start[0],
        column=token.start[1] + found.start() + 1,
        end_column=token.end[1] + 1,
        word=found["word"],
        rules=None if found["list"] is None else _rules(found, token.start[1]),
        reason=reason,
        rest=rest,
        lines=lines,
    )


def _rules(found: re.Match[str], offset: int) -> tuple[NamedRule, ...]:
    start = offset + found.start("rules") + 1
    return tuple(
        NamedRule(part[0], start + part.start(), start + part.end())
        for part in re.finditer(r"[^\s,](?:[^,]*[^\s,])?", found["rules"])
    )
