"""The abstract runs of a project's files, each done once."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.discover.flow import Interpreter
from nnlint.linter.discover.project import Project
from nnlint.linter.discover.unit import Unit

_MAX_RUNS = 48
_MAX_SPENT = 200_000


def run_of(unit: Unit, project: Project) -> Interpreter:
    """Return the run of a file, with what it imports from the project."""
    if unit.source not in project.runs:
        run = Interpreter(unit, project)
        run.run()
        run.forget()
        project.runs[unit.source] = run
    return project.runs[unit.source]


def runs_around(unit: Unit, project: Project) -> Iterator[Interpreter]:
    """Yield the runs of the files that import a file, as many as there is time for."""
    spent = 0
    for file in project.importers(unit.file)[:_MAX_RUNS] if unit.file else ():
        importer = project.unit(file)
        if importer is not None:
            run = run_of(importer, project)
            spent += run.spent
            yield run
        if spent > _MAX_SPENT:
            return
