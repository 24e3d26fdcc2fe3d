"""The projects that the files of one run belong to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from nnlint.linter.discover.folders import root_of
from nnlint.linter.discover.project import Project
from nnlint.linter.load.files import STDIN, File


class Projects:
    """One project for each root, shared by all files below it."""

    def __init__(self, files: Iterable[File] = (), paths: Iterable[str] = ()) -> None:
        """Note what the user gave; nothing is read yet.

        Args:
            files: The files to lint.
            paths: What the user gave, folders among it.
        """
        self._shown = {os.path.realpath(file.path): file.path for file in files}
        self._texts = {
            os.path.realpath(file.path): file.text for file in files if file.text is not None
        }
        self._folders = [
            Path(path).resolve() for path in paths if path != STDIN and Path(path).is_dir()
        ]
        self._projects: dict[tuple[Path, bool], Project] = {}
        self._roots: dict[Path, Path] = {}

    def around(self, file: File) -> Project:
        """Return the project that a file belongs to."""
        path = Path(file.path)
        folder = path.resolve().parent
        if folder not in self._roots:
            self._roots[folder] = root_of(folder / path.name, self._folders)
        key = (self._roots[folder], not path.is_absolute())
        if key not in self._projects:
            self._projects[key] = Project(
                key[0], shown=self._shown, texts=self._texts, relative=key[1]
            )
        return self._projects[key]
