"""`[tool.nnlint]` in pyproject.toml: found, read, and turned into settings."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnlint.errors import ConfigError
from nnlint.linter.settings import TABLE, LintSettings, OutputSettings, ProbeSettings

FILE_NAME = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration and where it comes from.

    Attributes:
        settings: The settings of a run.
        output: What is shown, where, and what fails.
        probe: What `nnlint probe` does.
        path: The file, None when there is none.
        data: The table as it stands in the file.
    """

    settings: LintSettings = field(default_factory=LintSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    path: Path | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def given(self) -> frozenset[str]:
        """Keys that the file sets, in kebab case."""
        return frozenset(self.data)


def find_config(start: Path) -> Path | None:
    """Return the nearest pyproject.toml with a [tool.nnlint] table, from `start` upwards."""
    folder = start.absolute()
    for parent in (folder, *folder.parents):
        path = parent / FILE_NAME
        # Text comes first: another project's broken file is no business of ours.
        if path.is_file() and _mentions_nnlint(path) and _table_of(path) is not None:
            return path
    return None


def load_config(
    start: Path | None = None, *, path: Path | None = None, isolated: bool = False
) -> Config:
    """Read the configuration that holds for a path.

    Args:
        start: Where the search begins; the current directory without it.
        path: A file to read instead of searching.
        isolated: Whether to read no file.

    Raises:
        ConfigError: With the file, the key and the reason.
    """
    if isolated:
        return Config()
    if path is not None and not path.is_file():
        raise ConfigError(f"no such configuration file: {path}")
    found = path or find_config(_folder_of(start or Path()))
    if found is None:
        return Config()
    data = _table_of(found)
    if data is None:
        raise ConfigError(f"{found}: there is no [{TABLE}] table")
    # Most projects have no table, and pydantic is a third of what the command line would load.
    from nnlint.linter.config_table import read_table

    table = read_table(data, str(found))
    root = str(found.parent)
    return Config(
        table.to_settings(root), table.to_output(), table.probe.to_settings(root), found, data
    )


def _folder_of(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _mentions_nnlint(path: Path) -> bool:
    try:
        return b"nnlint" in path.read_bytes()
    except OSError:
        return False


def _table_of(path: Path) -> dict[str, Any] | None:
    try:
        data = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_toml_message(path, str(error))) from None
    tool = data.get("tool")
    if not isinstance(tool, dict) or "nnlint" not in tool:
        return None
    if not isinstance(tool["nnlint"], dict):
        raise ConfigError(f"{path}: {TABLE}: must be a table")
    table: dict[str, Any] = tool["nnlint"]
    return table


def _toml_message(path: Path, message: str) -> str:
    match = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if match is None:
        return f"{path}: {message}"
    return f"{path}:{match[1]}:{match[2]}: {message[: match.start()]}"
