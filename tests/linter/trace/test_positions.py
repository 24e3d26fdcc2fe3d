"""Frames become places in the user's own code, exact to the character."""

from __future__ import annotations

import linecache
import os
import sys
import textwrap
from pathlib import Path

import pytest

from nnlint.linter.trace.positions import UserCode, split_lines


@pytest.fixture
def places(tmp_path):
    """Run a text that calls `here()` and return the source text at each call's place."""

    def run(text, **settings):
        text = textwrap.dedent(text)
        path = str(tmp_path / "net.py")
        code = UserCode(path, text, str(tmp_path))
        found = []

        def here(*_):
            place = code.site(sys._getframe(1), **settings)
            line = split_lines(text)[place.line - 1]
            found.append(line[place.column - 1 : place.end_column - 1])
            assert (place.path, place.end_line) == (path, place.line)

        exec(compile(text, path, "exec"), {"here": here})  # noqa: S102 - stands for a user's file
        return found

    return run


def test_columns_are_exact(places):
    assert places("x = 1; here(1); here( 2 ).__class__\n") == ["here(1)", "here( 2 )"]


def test_columns_count_characters(places):
    assert places("größe = '✓'; here('é', 1)\n") == ["here('é', 1)"]


def test_calls_over_several_lines_end_with_the_first(places):
    assert places("here(\n    here(2),\n    3,\n)\n") == ["here(2)", "here("]


def test_form_feeds_end_no_line(places):
    assert places("x = 1\n\x0c\nhere()\n") == ["here()"]


def test_comprehensions_and_functions(places):
    text = "def f():\n    return [here(i) for i in range(1)]\nf()\n"
    assert places(text) == ["here(i)"]


def test_frames_can_be_skipped(places):
    text = "def f():\n    here()\nf()\n"
    assert places(text, skip=lambda frame: frame.f_code.co_name == "f") == ["f()"]


def test_ranks(tmp_path):
    code = UserCode("net.py", "", str(tmp_path))
    assert code.rank("net.py") == 0
    assert code.rank(str(Path("net.py").absolute())) == 0
    assert code.rank(str(tmp_path / "helper.py")) == 1
    for other in (
        "<string>",
        "<frozen importlib._bootstrap>",
        os.__file__,
        str(tmp_path / "lib" / "site-packages" / "a.py"),
        "/elsewhere/a.py",
    ):
        assert code.rank(other) is None


def test_the_linted_file_counts_wherever_it_stands():
    assert UserCode(os.__file__, "", "").rank(os.__file__) == 0
    assert UserCode("<stdin>", "", "").rank("<stdin>") == 0


def test_nnlint_is_never_the_user_s_code():
    import nnlint

    root = str(Path(nnlint.__file__).parents[1])
    assert UserCode("net.py", "", root).rank(nnlint.__file__) is None


def test_where_an_exception_was_raised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "def f(g):\n    g()\n"
    helper = tmp_path / "helper.py"
    helper.write_text("def g():\n    return int('x')\n")
    values = {}
    for path, source in ((str(helper), helper.read_text()), ("net.py", text)):
        exec(compile(source, path, "exec"), values)  # noqa: S102 - stands for a user's file
    code = UserCode("net.py", text, "")
    with pytest.raises(ValueError, match="invalid literal") as caught:
        values["f"](values["g"])
    place, further = code.raised(caught.value.__traceback__)
    assert (place.path, place.line, place.column, place.end_column) == ("net.py", 2, 5, 8)
    assert [(each.path, each.line, each.column) for each in further] == [("helper.py", 2, 12)]
    assert code.raised(None) == (None, [])


def test_whole_lines(tmp_path):
    code = UserCode("net.py", "if x:\n    y = 1  \n", str(tmp_path))
    place = code.from_lines("net.py", 2)
    assert (place.line, place.column, place.end_column) == (2, 5, 10)
    assert code.from_lines("net.py", 99).column == 1
    linecache.clearcache()
