"""Jupyter notebooks: their code as one text, and where each line of it stands in which cell.

Everything between reading and rendering sees the text of all code cells, one below the other, and
counts lines in it. What is shown counts them in the cell.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import json
import linecache
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from nnlint.linter.findings import Location
from nnlint.linter.magics import to_python

SUFFIX = ".ipynb"

# Stands on a line of its own before each cell. The control character is in no source text that
# people write, and no line ends with it.
_SEPARATOR = "# \x1f"
_LINE_END = re.compile(r"\r\n?")


def is_notebook(path: str) -> bool:
    """Tell whether a path is that of a notebook."""
    return PurePath(path).suffix == SUFFIX


def python_of(data: str) -> str:
    """Return the code of a notebook's JSON as one Python text.

    Raises:
        SyntaxError: It is no notebook.
    """
    try:
        content = json.loads(data)
    except json.JSONDecodeError as error:
        message = f"a notebook must be JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        raise SyntaxError(message, (None, error.lineno, error.colno, None)) from None
    except RecursionError:
        raise SyntaxError("the JSON of the notebook is nested too deeply") from None
    if not isinstance(content, dict) or not isinstance(_cells(content), list):
        raise SyntaxError("a notebook must have a list of cells")  # noqa: TRY004 - as for all of its JSON
    if _language(content) not in {"", "python"}:
        return ""
    parts = [""]  # the first line, where things are said of the file as a whole, is in no cell
    for source in sources_of(content):
        cell = _LINE_END.sub("\n", "".join(source)).removesuffix("\n")
        parts += [_SEPARATOR, to_python(cell.replace(_SEPARATOR, "#"))]
    return "\n".join(parts) + "\n"


def sources_of(content: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the source of each code cell, as the strings that it is made of in the JSON."""
    for cell in _cells(content):
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", cell.get("input", ""))
            lines = source if isinstance(source, list) else [source]
            yield [line for line in lines if isinstance(line, str)]


def _cells(content: Mapping[str, Any]) -> Any:
    if "cells" in content:
        return content["cells"]
    sheets = content.get("worksheets")  # nbformat 3
    if not isinstance(sheets, list):
        return None
    found = []
    for sheet in sheets:
        cells = sheet.get("cells") if isinstance(sheet, dict) else None
        found += cells if isinstance(cells, list) else []
    return found


def _language(content: Mapping[str, Any]) -> str:
    """Return the language of the kernel, "" where it is not told."""
    metadata = content.get("metadata")
    if not isinstance(metadata, dict):
        return ""
    for table, key in (("language_info", "name"), ("kernelspec", "language")):
        entry = metadata.get(table)
        name = entry.get(key) if isinstance(entry, dict) else None
        if isinstance(name, str):
            return re.sub(r"\d+$", "", name.lower()).removeprefix("i")
    return ""


def located(place: Location, sources: Mapping[str, str]) -> tuple[int | None, Location]:
    """Return the number of the cell, from 1, and the place in it.

    A place in anything but a notebook comes back as it is, with None. Of a range over several cells
    the first one counts.

    Args:
        place: Where something is said.
        sources: The text of each file.
    """
    text = sources.get(place.path, "") if is_notebook(place.path) else ""
    cell, offset = _cell(text, place.line)
    if not cell:
        return None, place
    end = _cell(text, place.end_line)
    last = place.end_line - offset if end[0] == cell else place.line - offset
    return cell, dataclasses.replace(place, line=place.line - offset, end_line=last)


def written(path: str, line: int, sources: Mapping[str, str]) -> str:
    """Return `path:line`, and `path:cell number:line` in a notebook."""
    cell, place = located(Location(path, line), sources)
    return f"{path}:{place.line}" if cell is None else f"{path}:cell {cell}:{place.line}"


def line_of(place: Location) -> str:
    """Return "line 5", and "line 5 of cell 3" in a notebook whose code runs in this process."""
    cell, inner = located(place, running(place.path))
    return f"line {inner.line}" if cell is None else f"line {inner.line} of cell {cell}"


def running(path: str) -> dict[str, str]:
    """Return the text of a file whose code runs in this process, by its path."""
    return {path: "".join(linecache.getlines(path))}


def _cell(text: str, line: int) -> tuple[int, int]:
    """Return the number of the cell that holds a line, 0 for none, and the lines before it."""
    starts = _starts(text)
    cell = bisect.bisect_left(starts, line)
    return (cell, starts[cell - 1]) if cell else (0, 0)


@functools.lru_cache(maxsize=8)
def _starts(text: str) -> tuple[int, ...]:
    """Return the line before each cell's first."""
    lines = text.split("\n")
    return tuple(number for number, line in enumerate(lines, 1) if line == _SEPARATOR)
