"""A notebook's code as one text, and its places in the cells and in the file."""

from __future__ import annotations

import json
import linecache
from pathlib import Path
from typing import Any

import pytest

from nnlint.linter.findings import Location
from nnlint.linter.notebook import line_of, located, python_of, running, written
from nnlint.linter.notebook_lines import in_file


def code(*sources: Any, **more: Any) -> str:
    cells = [{"cell_type": "code", "source": source, "outputs": []} for source in sources]
    return json.dumps({"cells": cells, "nbformat": 4, **more}, indent=1)


def lines(data: str) -> list[str]:
    return [line for line in python_of(data).splitlines() if line and "\x1f" not in line]


def test_the_code_of_all_cells_is_joined() -> None:
    data = json.dumps(
        {
            "cells": [
                {"cell_type": "markdown", "source": ["# not = code"]},
                {"cell_type": "code", "source": ["a = 1\n", "b = 2"]},
                {"cell_type": "raw", "source": "nothing"},
                {"cell_type": "code", "source": "c = 3\nd = 4\n"},
            ]
        }
    )
    assert lines(data) == ["a = 1", "b = 2", "c = 3", "d = 4"]


def test_the_third_format_has_sheets() -> None:
    cells = [{"cell_type": "code", "input": ["a = 1"]}, {"cell_type": "heading", "source": "b"}]
    assert lines(json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3})) == ["a = 1"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"language_info": {"name": "R"}},
        {"kernelspec": {"language": "julia"}},
    ],
)
def test_a_notebook_in_another_language_has_no_code(metadata: dict[str, Any]) -> None:
    assert python_of(code("a <- 1", metadata=metadata)) == ""


@pytest.mark.parametrize(
    "metadata",
    [
        {"language_info": {"name": "python"}, "kernelspec": {"language": "python"}},
        {"language_info": {"name": "ipython3"}},
        {"language_info": 3, "kernelspec": {"name": "python3"}},
        None,
    ],
)
def test_python_and_no_language_are_read(metadata: Any) -> None:
    assert lines(code("a = 1", metadata=metadata)) == ["a = 1"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "a notebook must be JSON: expecting value"),
        ("{", "a notebook must be JSON"),
        ("[]", "a notebook must have a list of cells"),
        ('{"cells": 3}', "a notebook must have a list of cells"),
        ("{}", "a notebook must have a list of cells"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_notebook_is_a_syntax_error(data: str, message: str) -> None:
    with pytest.raises(SyntaxError, match=message):
        python_of(data)


def test_odd_cells_are_passed_over() -> None:
    data = json.dumps({"cells": [3, None, {}, {"cell_type": "code", "source": [1, "a = 1", None]}]})
    assert lines(data) == ["a = 1"]


PATH = "book.ipynb"


def place(text: str, marker: str) -> Location:
    number = text.split("\n").index(marker) + 1
    return Location(PATH, number, 1, number, len(marker) + 1)


def test_a_line_is_told_by_the_number_of_the_code_cell_and_the_line_in_it() -> None:
    text = python_of(code("a\nb", "", "c\nd"))
    sources = {PATH: text}
    for marker, cell, line in (("a", 1, 1), ("b", 1, 2), ("c", 3, 1), ("d", 3, 2)):
        found, inner = located(place(text, marker), sources)
        assert (found, inner.line, inner.end_line) == (cell, line, line)
    whole = place(text, "d")
    assert written(PATH, whole.line, sources) == "book.ipynb:cell 3:2"


def test_where_the_code_runs_its_cells_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    text = python_of(code("a\nb", "c\nd"))
    lines = text.splitlines(keepends=True)
    monkeypatch.setitem(linecache.cache, PATH, (len(text), None, lines, PATH))
    assert running(PATH) == {PATH: text}
    assert line_of(place(text, "d")) == "line 2 of cell 2"
    assert line_of(Location("gone.py", 2)) == "line 2"


def test_a_range_ends_within_its_cell() -> None:
    text = python_of(code("a\nb", "c"))
    start, end = place(text, "a").line, place(text, "c").line
    cell, inner = located(Location(PATH, start, 1, end, 2), {PATH: text})
    assert (cell, inner.line, inner.end_line) == (1, 1, 1)


def test_the_file_as_a_whole_is_in_no_cell() -> None:
    sources = {PATH: python_of(code("a"))}
    assert located(Location(PATH, 1), sources) == (None, Location(PATH, 1))
    assert written(PATH, 1, sources) == "book.ipynb:1"


def test_other_files_have_no_cells() -> None:
    text = "# \x1f\na\n"
    assert located(Location("a.py", 2), {"a.py": text}) == (None, Location("a.py", 2))
    assert located(Location(PATH, 2), {}) == (None, Location(PATH, 2))


def test_what_looks_like_the_border_of_a_cell_is_none() -> None:
    text = python_of(code("# \x1f\na"))
    cell, inner = located(place(text, "a"), {PATH: text})
    assert (cell, inner.line) == (1, 2)


@pytest.mark.parametrize(
    "source",
    [["x = 1\n", "%time\n", "y = 2"], ["x = 1\r\n", "\r\n", "y = 2\n"], ["x =", " 1\n\n", "y = 2"]],
)
def test_a_line_is_found_in_the_file(tmp_path: Path, source: list[str]) -> None:
    path = tmp_path / PATH
    path.write_text(code("a = 'é'\n", source), encoding="utf-8")
    sources = {str(path): python_of(path.read_text(encoding="utf-8"))}
    number = sources[str(path)].split("\n").index("y = 2") + 1
    words, found = in_file(Location(str(path), number), sources)
    assert words == "cell 2, line 3"
    raw = path.read_text(encoding="utf-8").split("\n")[found.line - 1]
    assert raw[found.column - 1 : found.end_column - 1].startswith('"y = 2')
    assert raw[: found.column - 1].isspace()


def test_all_lines_of_a_cell_that_is_one_string_are_on_one_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / PATH
    path.write_text(code("a = 1\nb = 2"))
    sources = {str(path): python_of(path.read_text())}
    first, second = (in_file(Location(str(path), n), sources) for n in (3, 4))
    assert (first[0], second[0]) == ("cell 1, line 1", "cell 1, line 2")
    assert first[1] == second[1]
    assert "a = 1" in path.read_text().split("\n")[first[1].line - 1]


def test_where_the_file_is_another_one_by_now_its_first_line_is_taken(tmp_path: Path) -> None:
    path = tmp_path / PATH
    sources = {str(path): python_of(code("a = 1"))}
    assert in_file(Location(str(path), 3), sources)[1] == Location(str(path), 1)
    path.write_text(code("b = 1"))
    sources = {str(path): python_of(code("a = 2"))}
    assert in_file(Location(str(path), 3), sources) == ("cell 1, line 1", Location(str(path), 1))


def test_a_place_in_another_file_stays() -> None:
    assert in_file(Location("a.py", 3), {"a.py": "x\n"}) == ("", Location("a.py", 3))
