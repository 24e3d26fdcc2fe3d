from __future__ import annotations

import ast

import pytest

from nnlint.linter.discover import Source


def test_columns_count_characters_not_bytes():
    source = Source.parse("m.py", "é = 'ü'; x = f(y)\n")
    call = next(node for node in ast.walk(source.tree) if isinstance(node, ast.Call))
    location = source.location(call)
    assert (location.line, location.column, location.end_column) == (1, 14, 18)


def test_a_range_over_several_lines_is_cut_to_the_first():
    source = Source.parse("m.py", "x = f(\n    y,\n)\n")
    location = source.location(source.tree.body[0])
    assert (location.line, location.end_line, location.column, location.end_column) == (1, 1, 1, 7)


@pytest.mark.parametrize("text", ["a = 1\r\nb = 2\r\n", "a = 1\rb = 2", "\x0ca = 1\nb = 2\n"])
def test_lines_are_those_that_python_counts(text):
    source = Source.parse("m.py", text)
    assert len(source.lines) == 2
    assert source.lines[source.tree.body[1].lineno - 1] == "b = 2"


def test_doubtful_literals_do_not_warn():
    assert Source.parse("m.py", "x = '\\d'\ny = 1if x else 2\n").tree.body


@pytest.mark.parametrize("text", ["x = (", "x = 1\0"])
def test_what_is_no_python_is_an_error(text):
    with pytest.raises((SyntaxError, ValueError)):
        Source.parse("m.py", text)
