"""Does one file: a worker for its models, and another one for the rest where one brings it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnlint.linter.discover.source import Source
from nnlint.linter.discover.targets import Target
from nnlint.linter.findings import Check, Finding, ModelReport, Obstacle
from nnlint.linter.load import failures
from nnlint.linter.load.pool import Pool
from nnlint.linter.load.protocol import Exit, Job
from nnlint.linter.load.targets import settings_for
from nnlint.linter.load.tasks import Order, TaskResult
from nnlint.linter.rules.base import Rule
from nnlint.linter.settings import LintSettings, ModelSettings
from nnlint.linter.trace.positions import UserCode

_MOST_TIMEOUTS = 2


@dataclass(slots=True)
class FileResult:
    """What one file gave."""

    path: str
    text: str
    findings: list[Finding] = field(default_factory=list)
    models: list[ModelReport] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)


def lint_targets(
    source: Source,
    targets: Sequence[Target],
    settings: LintSettings,
    *,
    rules: Sequence[type[Rule]],
    pool: Pool,
    threads: int,
    order: Order | None = None,
) -> FileResult:
    """Build and analyse the models of one file in child processes, and have the order done."""
    run = _Run(source, settings, rules=rules, pool=pool, threads=threads, order=order)
    run.do([(target, settings_for(target, settings)) for target in targets])
    places = {target.name: index for index, target in enumerate(targets)}
    run.result.models.sort(key=lambda model: places.get(model.name, len(places)))
    return run.result


class _Run:
    """The state of one file's run."""

    def __init__(
        self,
        source: Source,
        settings: LintSettings,
        *,
        rules: Sequence[type[Rule]],
        pool: Pool,
        threads: int,
        order: Order | None = None,
    ) -> None:
        self.result = FileResult(source.path, source.text)
        self._settings = settings
        self._rules = tuple(rule.code for rule in rules)
        self._pool = pool
        self._threads = threads
        self._order = order
        self._code = UserCode(source.path, source.text, settings.root)
        self._todo: list[tuple[Target, ModelSettings]] = []
        self._stage: failures.Stage | None = None
        self._current: int | None = None
        self._done = False

    def do(self, todo: Sequence[tuple[Target, ModelSettings]]) -> None:
        """Do the targets in one worker, or in several when one ends early."""
        self._todo = list(todo)
        timeouts = 0
        while self._todo:
            self._stage, self._current, self._done = None, None, False
            end = self._pool.run(self._job(), self._take)
            if self._done:
                return
            timeouts += end.limit == "time"
            self._blame(end)
            if timeouts >= _MOST_TIMEOUTS:
                for target, _ in self._todo:
                    reason = "the time limit was exceeded by other models of the file"
                    self.give_up(target, failures.not_analysed(target, reason), "limit")
                return

    def give_up(self, target: Target, finding: Finding, obstacle: Obstacle) -> None:
        """Note that a model was not analysed."""
        self.result.findings.append(finding)
        self.result.models.append(failures.report(target, finding, obstacle))

    def _job(self) -> Job:
        settings = self._settings
        return Job(
            path=self.result.path,
            text=self.result.text,
            root=settings.root,
            cwd=str(Path.cwd()),
            targets=tuple(target for target, _ in self._todo),
            settings=tuple(given for _, given in self._todo),
            rules=self._rules,
            timeout=settings.timeout,
            memory_bytes=settings.memory_bytes,
            threads=self._threads,
            task=self._order.task if self._order else "",
            options=self._order.options if self._order else {},
            task_timeout=self._order.seconds if self._order else 0.0,
        )

    def _take(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "stage":
                self._stage, self._current = event["stage"], event["target"]
            case "model":
                self.result.models.append(ModelReport.from_dict(event["report"]))
                self.result.findings += map(Finding.from_dict, event["findings"])
                self.result.checks += map(Check.from_dict, event["checks"])
            case "task":
                found = event.get("finding")
                finding = None if found is None else Finding.from_dict(found)
                self._hand_over(self._todo[event["target"]][0], event.get("data"), finding)
            case "failed":
                self._fail(Finding.from_dict(event["finding"]), event["obstacle"])
            case "internal":
                self._fail(failures.internal(event["text"], self._code, None), "internal")
            case "done":
                self._done = True

    def _fail(self, finding: Finding, obstacle: Obstacle) -> None:
        """Note that the file as a whole gives nothing more."""
        self.result.findings.append(finding)
        # A model whose task was under way has its report already.
        start = (self._current or 0) + (self._stage == "task")
        self.result.models += [
            failures.report(target, finding, obstacle) for target, _ in self._todo[start:]
        ]
        self._todo = []

    def _blame(self, end: Exit) -> None:
        """Report the model at which a worker ended early, and leave those after it to do."""
        if self._stage is None:
            text = end.output.strip() or f"its worker ended with code {end.code}"
            self._fail(failures.internal(text, self._code, None), "internal")
            return
        target = None if self._current is None else self._todo[self._current][0]
        limit = self._settings.timeout
        if self._stage == "task" and self._order is not None:
            limit = self._order.seconds
        finding = failures.ended(end, self._code, stage=self._stage, target=target, timeout=limit)
        obstacle: Obstacle = "limit" if end.limit else "crash"
        if target is None or self._current is None:
            self._fail(finding, obstacle)
        elif self._stage == "task":
            # What the rules said of the model has arrived.
            self._hand_over(target, None, finding)
            self._todo = self._todo[self._current + 1 :]
        else:
            self.give_up(target, finding, obstacle)
            self._todo = self._todo[self._current + 1 :]

    def _hand_over(
        self, target: Target, data: Mapping[str, Any] | None, finding: Finding | None
    ) -> None:
        if self._order is not None:
            self._order.take(TaskResult(self.result.path, target.name, data, finding))
