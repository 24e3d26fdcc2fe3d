"""Configuration files of a project: YAML, JSON and TOML, read as plain values."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

_MAX_BYTES = 200_000
_MAX_FILES = 16
_MAX_VALUES = 4_000
_FOLDERS = ("", "conf", "config", "configs", "cfg", "cfgs", "hparams", "options", "params")
_USUAL = ("config", "default", "base", "train", "params", "hparams")


def find(path: str, folder: Path, root: Path) -> Path | None:
    """Return the file of the project that a path in a program means, or None.

    Programs are started in the folder of the file, or in one above it.

    Args:
        path: As it stands in the program.
        folder: Where the file that opens it is.
        root: The root of the project; nothing outside is read.
    """
    if not path or "\0" in path:
        return None
    for start in (folder, *folder.parents):
        if not start.is_relative_to(root):
            return None
        try:
            candidate = (start / path).resolve()
            if candidate.is_relative_to(root) and candidate.is_file():
                return candidate
        except (OSError, RuntimeError):  # A name too long, a loop of links.
            return None
    return None


def likely(folder: Path, root: Path, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the configuration files beside a file, or nearest above it, the likeliest first."""
    for start in (folder, *folder.parents):
        if not start.is_relative_to(root):
            break
        found = [path for name in _FOLDERS for path in _listed(start / name, suffixes)]
        if found:
            return tuple(found[:_MAX_FILES])
    return ()


def read(path: Path) -> Any:
    """Return what a configuration file holds, None where it cannot be read."""
    try:
        known = path.stat()
    except OSError:
        return None
    return None if known.st_size > _MAX_BYTES else _read(path, known.st_mtime_ns)


@lru_cache(maxsize=256)
def _read(path: Path, _changed: int) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    parse = _PARSERS.get(path.suffix.lower())
    value = None if parse is None else parse(text)
    return value if _count(value) <= _MAX_VALUES else None


def _yaml(text: str) -> Any:
    # A project without YAML files needs none of it.
    import yaml

    loader = _tolerant(getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 - derives from a safe loader
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, OverflowError):
        return None


@lru_cache(maxsize=1)
def _tolerant(loader: Any) -> Any:
    """Return a safe loader that reads a value with an unknown tag as None."""
    made: Any = type("Loader", (loader,), {})
    made.add_multi_constructor("", lambda *_: None)
    return made


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return None


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".json": _json,
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
}


def _count(value: Any) -> int:
    """Count the values within a value, up to a little over the bound; anchors may multiply them."""
    count = 0
    stack = [value]
    while stack and count <= _MAX_VALUES:
        one = stack.pop()
        count += 1
        if isinstance(one, dict):
            stack.extend(one.values())
        elif isinstance(one, list | tuple | set):
            stack.extend(one)
    return count


def _listed(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in suffixes]
    except OSError:
        return []

    def rank(path: Path) -> tuple[bool, str]:
        return not any(word in path.name.lower() for word in _USUAL), path.name

    return sorted(found, key=rank)
