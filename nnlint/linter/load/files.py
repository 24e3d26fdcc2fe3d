"""From the paths that the user gives to the texts of Python files and notebooks."""

from __future__ import annotations

import io
import os
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnlint.errors import UsageError
from nnlint.linter import notebook

STDIN = "-"

_SHOWN = 100_000
_SUFFIXES = frozenset({".py", notebook.SUFFIX})
_SKIPPED = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages"})


@dataclass(frozen=True, slots=True)
class File:
    """One file to lint.

    Attributes:
        path: As the user gave it, or the given folder joined with the way below it.
        names: The models to lint (`file.py:Name`), empty for all.
        explicit: Whether the user named it, rather than a folder around it.
        text: Its text where that does not come from disk.
    """

    path: str
    names: tuple[str, ...] = ()
    explicit: bool = True
    text: str | None = None


def find_files(
    paths: Sequence[str], *, stdin_text: str | None = None, stdin_filename: str = ""
) -> tuple[File, ...]:
    """Return the files that `paths` stand for, each once.

    Raises:
        UsageError: A path is missing or no Python file, or a folder has neither Python files nor
            notebooks.
    """
    found: dict[Path, File] = {}
    for path in paths:
        for file in _expand(path, stdin_text, stdin_filename):
            key = Path(file.path).resolve()
            known = found.get(key)
            if known is None:
                found[key] = file
            elif file.explicit:
                every = (known.explicit and not known.names) or not file.names
                names = () if every else (*known.names, *file.names)
                text = known.text if file.text is None else file.text
                found[key] = File(known.path, tuple(dict.fromkeys(names)), text=text)
    return tuple(found.values())


def read_text(path: str) -> str:
    """Return the text of a Python file in the encoding that it declares, the code of a notebook.

    Raises:
        OSError: It cannot be read.
        SyntaxError: It is no text, not in the encoding that it declares, or no notebook.
    """
    data = Path(path).read_bytes()
    if b"\0" in data:
        raise SyntaxError("it contains null bytes, so it is no Python source text")
    try:
        if notebook.is_notebook(path):
            return notebook.python_of(data.decode("utf-8-sig"))
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SyntaxError(f"it is not encoded as {error.encoding}", (path, line, 1, None)) from None


def python_text(path: str, text: str) -> str:
    """Return the Python of what a file holds; raises SyntaxError as `read_text` does."""
    return notebook.python_of(text) if notebook.is_notebook(path) else text


def readable(path: str) -> str:
    """Return what can be shown of a file that is not proper source text."""
    try:
        return Path(path).read_bytes()[:_SHOWN].decode(errors="replace")
    except OSError:
        return ""


def _expand(path: str, stdin_text: str | None, stdin_filename: str) -> Iterator[File]:
    if path == STDIN:
        yield File(stdin_filename or "<stdin>", text=stdin_text or "")
        return
    name = ""
    if not Path(path).exists():
        file, _, name = path.rpartition(":")
        if not file or not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(f"no such file or folder: {path}")
        if not Path(file).exists():
            raise UsageError(f"no such file: {file}")
        path = file
    if Path(path).is_dir():
        if name:
            raise UsageError(f"{path} is a folder; a model is named after a file: file.py:{name}")
        yield from _walk(path)
        return
    if Path(path).suffix not in _SUFFIXES:
        raise UsageError(f"{path} is neither a Python file nor a notebook")
    if not Path(path).is_file():
        raise UsageError(f"{path} is not a regular file")
    yield File(path, names=(name,) if name else ())


def _walk(folder: str) -> Iterator[File]:
    empty = True
    for current, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_skipped(Path(current, name)))
        for name in sorted(files):
            path = Path(current, name)
            if path.suffix in _SUFFIXES and not name.startswith(".") and path.is_file():
                empty = False
                yield File(str(path), explicit=False)
    if empty:
        raise UsageError(f"no Python files and no notebooks below {folder}")


def is_skipped(folder: Path) -> bool:
    """Tell whether a folder holds no code of the project's own."""
    name = folder.name
    # A virtual environment is known by its pyvenv.cfg, whatever its name.
    return name.startswith(".") or name in _SKIPPED or (folder / "pyvenv.cfg").exists()
