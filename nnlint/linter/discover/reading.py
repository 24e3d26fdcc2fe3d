"""Configuration files in the abstract run."""

from __future__ import annotations

import ast
from pathlib import Path, PurePosixPath
from typing import Any

from nnlint.linter.discover import configfiles
from nnlint.linter.discover.containers import entries
from nnlint.linter.discover.holders import MAX_NESTING, held, lifted, merge
from nnlint.linter.discover.holding import Holding
from nnlint.linter.discover.values import (
    NOTHING,
    Arguments,
    Constant,
    Settings,
    Table,
    TextFile,
    Value,
    literal,
    options,
)

_YAML = (".yaml", ".yml")
_LOADS = {
    **{f"yaml.{name}": (*_YAML, ".json") for name in ("load", "safe_load", "full_load")},
    "yaml.unsafe_load": _YAML,
    "omegaconf.OmegaConf.load": _YAML,
    **dict.fromkeys(("json.load", "json.loads", "simplejson.load", "commentjson.load"), (".json",)),
    **dict.fromkeys(("toml.load", "toml.loads", "tomllib.load", "tomllib.loads"), (".toml",)),
}
_TEXTS = frozenset(("__enter__", "open", "read", "read_text"))


class Reading(Holding):
    """The part of the abstract run that reads configuration files."""

    def load(self, dotted: str, arguments: Arguments) -> Value | None:
        """Call what reads a configuration file; None for anything else."""
        suffixes = _LOADS.get(dotted)
        if suffixes is None or not arguments.values:
            return None
        value = self._loaded(arguments.values[0], suffixes)
        return held(value) if isinstance(value, Table) and dotted.startswith("omegaconf") else value

    def opened(self, path: Value) -> TextFile:
        """Return a file of the project by the first of its alternative paths that is there."""
        for option in options(path):
            known = option.value if isinstance(option, Constant) else None
            if isinstance(known, str | PurePosixPath) and self.project.root:
                found = configfiles.find(str(known), self._folder, Path(self.project.root))
                if found is not None:
                    return TextFile(str(found))
        return TextFile("")

    def call_method(self, base: Value, name: str, arguments: Arguments, node: ast.expr) -> Value:
        """Call a method of a value."""
        if isinstance(base, TextFile):
            return base if name in _TEXTS else NOTHING
        if isinstance(base, Constant) and isinstance(base.value, PurePosixPath) and name in _TEXTS:
            return self.opened(base)
        return super().call_method(base, name, arguments, node)

    def settings_method(
        self, base: Settings, name: str, arguments: Arguments, node: ast.expr
    ) -> Value:
        """Call a method of an object that holds options."""
        if name == "merge_from_file" and arguments.values:
            read = self._loaded(arguments.values[0], _YAML)
            merge(base, dict(held(read).values))
            return NOTHING
        return super().settings_method(base, name, arguments, node)

    @property
    def _folder(self) -> Path:
        return Path(self.here.file).parent

    def _loaded(self, source: Value, suffixes: tuple[str, ...]) -> Value:
        """Return what a file holds; where the source does not tell which file, the likeliest."""
        opened = source if isinstance(source, TextFile) else self.opened(source)
        if opened.path:
            return lifted(configfiles.read(Path(opened.path)))
        if not self.project.root:
            return NOTHING
        for path in configfiles.likely(self._folder, Path(self.project.root), suffixes):
            read = configfiles.read(path)
            if isinstance(read, dict):
                return lifted(read)
        return NOTHING

    def composed(self, arguments: Arguments) -> Value:
        """Return the configuration that a `hydra.main` hands to its function."""
        folder = literal(arguments.get(0, "config_path"))
        name = literal(arguments.get(1, "config_name"))
        if not isinstance(name, str) or not self.project.root:
            return NOTHING
        start = self._folder / folder if isinstance(folder, str) else self._folder
        return self._composed(start, name) or NOTHING

    def _composed(self, folder: Path, name: str, depth: int = 0) -> Settings | None:
        """Return a configuration with those that its list of defaults names."""
        path = configfiles.find(
            f"{name.removesuffix('.yaml')}.yaml", folder, Path(self.project.root)
        )
        read = configfiles.read(path) if path is not None else None
        if not isinstance(read, dict) or depth > MAX_NESTING:
            return None
        composed = Settings()
        for group, choice in _defaults(read):
            inner = self._composed(folder / group, choice, depth + 1)
            if inner is not None:
                key = group.rpartition("/")[2]
                merge(composed, {key: inner} if key else dict(inner.values))
        own = lifted({key: item for key, item in read.items() if key != "defaults"})
        merge(composed, entries(held(own)) or {})
        return composed


def _defaults(read: dict[Any, Any]) -> list[tuple[str, str]]:
    """Return the groups and choices that a configuration is composed of."""
    found: list[tuple[str, str]] = []
    listed = read.get("defaults")
    for entry in listed if isinstance(listed, list) else []:
        pairs = entry.items() if isinstance(entry, dict) else [("", entry)]
        for group, choice in pairs:
            if isinstance(choice, str) and choice != "_self_":
                plain = str(group).removeprefix("override ").partition("@")[0]
                found.append((plain.strip("/"), choice))
    return found
