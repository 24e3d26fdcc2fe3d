"""The abstract runs of a project's files, each done once."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.discover.flow import Interpreter
from nnlint.linter.discover.project import Project
from nnlint.linter.discover.unit import Unit


def run_of(unit: Unit, project: Project) -> Interpreter:
    """Return the run of a file, with what it imports from the project."""
    if unit.source not in project.runs:
        run = Interpreter(unit, project)
        run.run()
        run.forget()
        project.runs[unit.source] = run
    return project.runs[unit.source]


def runs_around(unit: Unit, project: Project) -> Iterator[Interpreter]:
    """Yield the runs of the files that import a file, nearest first."""
    for file in project.importers(unit.file) if unit.file else ():
        importer = project.unit(file)
        if importer is not None:
            yield run_of(importer, project)
