"""Lint files and folders: from paths to a report. Imports no torch."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from nnlint.errors import NoModelError, UsageError
from nnlint.linter.discover import discover, may_hold_models
from nnlint.linter.discover.projects import Projects
from nnlint.linter.discover.source import Source
from nnlint.linter.discover.targets import Target
from nnlint.linter.findings import Finding, Report
from nnlint.linter.load import failures
from nnlint.linter.load.driver import FileResult, lint_targets
from nnlint.linter.load.files import File, find_files, python_text, read_text, readable
from nnlint.linter.load.pool import Pool
from nnlint.linter.load.targets import choose
from nnlint.linter.load.tasks import Order
from nnlint.linter.notebook import is_notebook
from nnlint.linter.rules.base import Category, Rule
from nnlint.linter.selection import rules_for
from nnlint.linter.settings import LintSettings
from nnlint.linter.trace.positions import UserCode

Progress = Callable[[str], None]


def lint_paths(
    paths: Sequence[str],
    settings: LintSettings,
    *,
    rules: Sequence[type[Rule]],
    stdin_text: str | None = None,
    stdin_filename: str = "",
    pool: Pool | None = None,
    progress: Progress | None = None,
    order: Order | None = None,
) -> Report:
    """Lint every model that is found below `paths`.

    Args:
        paths: Files, folders, `file.py:Name`, or "-" for `stdin_text`.
        settings: The settings of the run.
        rules: The rules to run.
        stdin_text: The source that "-" stands for.
        stdin_filename: The file that it is meant to be.
        pool: Where the files are run; a new one by default, closed at the end.
        progress: Called with what is being done.
        order: What else is to be done with each model, where its code runs.

    Raises:
        UsageError: A path is missing or no Python file, or a named model does not exist.
        NoModelError: There is no model at all.
    """
    files = find_files(paths, stdin_text=stdin_text, stdin_filename=stdin_filename)
    with contextlib.ExitStack() as stack:
        if pool is None:
            pool = stack.enter_context(Pool())
        alone = len(files) == 1
        run = _Run(settings, rules, pool, progress or _silent, alone=alone, order=order)
        run.projects = Projects(files, paths)
        results = run.do(files)
    if not any(result.models or result.findings for result in results):
        raise _nothing_found(paths, files)
    return _report(results, settings, rules)


def _silent(_: str) -> None:
    pass


def _nothing_found(paths: Sequence[str], files: Sequence[File]) -> NoModelError:
    if any(file.explicit for file in files):
        names = ", ".join(file.path for file in files if file.explicit)
        message = f"no model found in {names}"
    else:
        message = f"no PyTorch models below {', '.join(paths)}"
    return NoModelError(
        message,
        hint="nnlint lints classes derived from torch.nn.Module, and functions and variables "
        "that give one; name one with file.py:Name.",
    )


def _report(
    results: Iterable[FileResult], settings: LintSettings, rules: Sequence[type[Rule]]
) -> Report:
    results = list(results)
    findings: list[Finding] = []
    for result in results:
        enabled = {rule.code for rule in rules_for(result.path, rules, settings)}
        findings += (each for each in _merged(result.findings) if each.code in enabled)
    findings.sort(key=lambda each: (each.location.path, *_order(each)))
    return Report(
        findings=tuple(findings),
        models=tuple(model for result in results for model in result.models),
        checks=tuple(check for result in results for check in result.checks),
        sources=_sources(findings, {result.path: result.text for result in results}),
    )


def _order(finding: Finding) -> tuple[int, int, str, str, str]:
    place = finding.location
    return place.line, place.column, finding.code, finding.model, finding.message


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """Make one finding of those that several models of a file share."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        key = (finding.code, finding.location, finding.message, finding.severity)
        groups.setdefault(key, []).append(finding)
    merged = []
    for first, *others in groups.values():
        models = list(dict.fromkeys(each.model for each in (first, *others) if each.model))
        if len(models) < 2 and not others:
            merged.append(first)
            continue
        modules = dict.fromkeys(path for each in (first, *others) for path in each.modules)
        evidence = {**first.evidence, "models": models} if len(models) > 1 else first.evidence
        merged.append(dataclasses.replace(first, modules=tuple(modules), evidence=evidence))
    return merged


def _sources(findings: Iterable[Finding], known: dict[str, str]) -> dict[str, str]:
    """Return the text of every file that the findings point at, and of every notebook.

    Without its text no line of a notebook can be told.
    """
    wanted = {
        place.path
        for finding in findings
        for place in (finding.location, *(each.location for each in finding.related))
    } | set(filter(is_notebook, known))
    found = {}
    for path in sorted(wanted):
        if path in known:
            found[path] = known[path]
            continue
        with contextlib.suppress(OSError, SyntaxError, LookupError):
            found[path] = read_text(path)
    return found


def _cpu_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Run:
    """One call of `lint_paths`."""

    def __init__(
        self,
        settings: LintSettings,
        rules: Sequence[type[Rule]],
        pool: Pool,
        progress: Progress,
        *,
        alone: bool,
        order: Order | None = None,
    ) -> None:
        self.settings = settings
        apart = (Category.TOOL, Category.PROBE)
        self.rules = [rule for rule in rules if rule.category not in apart]
        self.pool = pool
        self.progress = progress
        self.order = order
        self.projects = Projects()
        self.cpus = _cpu_count()
        self.threads = self.cpus if alone else 1

    def do(self, files: Sequence[File]) -> list[FileResult]:
        """Lint the files, several at once."""
        if len(files) == 1:
            prepared = self.prepare(files[0])
            return [prepared if isinstance(prepared, FileResult) else self.lint(*prepared)]
        executor = concurrent.futures.ThreadPoolExecutor(self.cpus)
        waiting: list[FileResult | concurrent.futures.Future[FileResult]] = []
        try:
            for file in files:
                prepared = self.prepare(file)
                if isinstance(prepared, FileResult):
                    waiting.append(prepared)
                else:
                    waiting.append(executor.submit(self.lint, *prepared))
            return [each if isinstance(each, FileResult) else each.result() for each in waiting]
        except BaseException as error:
            # What runs is ended, and its threads with it.
            executor.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, Exception):
                self.pool.cancel()
            else:
                self.pool.close()
            raise
        finally:
            executor.shutdown()

    def prepare(self, file: File) -> FileResult | tuple[Source, tuple[Target, ...]]:
        """Read, parse and search a file; a result where there is nothing to run."""
        text = ""
        try:
            text = read_text(file.path) if file.text is None else python_text(file.path, file.text)
            if not file.explicit and not may_hold_models(text):
                return FileResult(file.path, text)
            source = Source.parse(file.path, text)
        except OSError as error:
            if file.explicit:
                raise UsageError(f"{file.path} cannot be read: {error.strerror}") from error
            return FileResult(file.path, text)
        except SyntaxError as error:
            text = text or file.text or readable(file.path)
            if not file.explicit and not may_hold_models(text):
                return FileResult(file.path, text)
            return FileResult(file.path, text, [failures.syntax_error(error, file.path, text)])
        except (ValueError, RecursionError, MemoryError) as error:
            unparsable = SyntaxError(failures.describe(error))
            return FileResult(file.path, text, [failures.syntax_error(unparsable, file.path, text)])
        try:
            adopt = file.explicit and not file.names
            found = discover(source, self.projects.around(file), adopt=adopt)
            targets = choose(source, found, file.names)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - a defect of ours must not end the whole run
            code = UserCode(file.path, text, self.settings.root)
            finding = failures.internal(failures.describe(error), code, None)
            return FileResult(file.path, text, [finding])
        return (source, targets) if targets else FileResult(file.path, text)

    def lint(self, source: Source, targets: tuple[Target, ...]) -> FileResult:
        """Run the models of a file."""
        self.progress(f"linting {Path(source.path).name}")
        return lint_targets(
            source,
            targets,
            self.settings,
            rules=rules_for(source.path, self.rules, self.settings),
            pool=self.pool,
            threads=self.threads,
            order=self.order,
        )
