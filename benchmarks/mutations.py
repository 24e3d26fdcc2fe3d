"""Put known faults into healthy models and count those that lint and probe find together.

Usage: python benchmarks/mutations.py [--fault NAME] [--model NAME] [--write docs/accuracy.md]

faults/healthy holds the models, faults/table.py the faults and the rules that fit each. A fault is
found when such a rule speaks at warning or above (at note where the catalogue makes it a note); any
other finding does not count. Each file is linted and probed as `nnlint probe FILE` would, on one
server, with drawn data. The exit code says whether at least 95 % of the faults are found and no
healthy model is blamed at warning or above.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.faults.table import FAULTS, MODELS, Fault, text_of
from benchmarks.pages import versions, write_section
from nnlint.errors import CaptureError
from nnlint.linter.findings import Report, Severity
from nnlint.linter.load.pool import Pool
from nnlint.linter.selection import resolve
from nnlint.linter.settings import LintSettings
from nnlint.probe_service import asking
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.capture.driver import capture_file
from nnlint.probe_service.client.embedded import Embedded
from nnlint.probe_service.client.report import judge, unserved, with_probe
from nnlint.probe_service.client.session import Session
from nnlint.probe_service.options import ProbeOptions

BOUND = 0.95
# These make hundreds of steps; the faults that only they can show name them.
SLOW = ("overfit", "lr_range")
FOUND, MISSED, ABSENT = "found", "**missed**", "-"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was said of one file.

    Attributes:
        report: Of lint and probe.
        reason: Why it was not probed, "" where it was.
        seconds: That it took.
    """

    report: Report
    reason: str
    seconds: float

    def rules(self, fault: Fault) -> tuple[str, ...]:
        """Return the rules that fit a fault and spoke loudly enough."""
        return tuple(
            dict.fromkeys(
                finding.rule
                for finding in self.report.findings
                if finding.rule in fault.accepted
                and (finding.severity is not Severity.NOTE or finding.rule in fault.notes)
            )
        )


class Bench:
    """A pool of workers and a server, for all files; a context."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._pool = self._stack.enter_context(Pool())
        self._pool.start()
        server = self._stack.enter_context(Embedded())
        server.start()
        self._session = self._stack.enter_context(Session(server))
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._rules = resolve((), ())
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def run(self, name: str, text: str, options: ProbeOptions, *, data: str = "") -> Outcome:
        """Lint and probe a model file, alone in a folder of its own."""
        started = time.perf_counter()
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        path = folder / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        report, (capture,) = capture_file(
            str(path),
            LintSettings(),
            rules=self._rules,
            options=options,
            data=data,
            pool=self._pool,
        )
        reason = ""
        if isinstance(capture, Capture):
            try:
                judged = judge(self._session.probe(capture, options), options, self._rules)
            except CaptureError as error:
                judged = unserved(capture, error, options.seed)
            report = with_probe(report, judged)
            probed = report.probes[-1]
            reason = "" if probed.complete else f"{probed.status}: {probed.reason}"
        else:
            reason = f"not captured: {capture.reason}"
        return Outcome(report, reason, time.perf_counter() - started)


def options_for(slow: Iterable[str], given: Mapping[str, Any]) -> ProbeOptions:
    """Return the options of one probe: all quick experiments, and the slow ones that are named."""
    wanted = {*asking.kinds()} - {*SLOW} | {*slow}
    kinds = tuple(kind for kind in asking.kinds() if kind in wanted)
    return ProbeOptions(experiments=kinds, **given)


def loud(report: Report) -> list[str]:
    """Return what is said at warning or above, a line each."""
    return [
        f"{finding.rule}: {finding.message}"
        for finding in report.findings
        if finding.severity is not Severity.NOTE
    ]


def rows(
    cells: Mapping[tuple[str, str], str], faults: Sequence[Fault], models: Sequence[str]
) -> Iterator[str]:
    """Yield the table of faults and models."""
    yield f"| fault | {' | '.join(models)} |"
    yield f"|---|{'---|' * len(models)}"
    for fault in faults:
        found = " | ".join(cells[fault.name, model] for model in models)
        yield f"| {fault.name} | {found} |"


def headline(
    found: int, total: int, alarms: Sequence[str], models: Sequence[str], seconds: float
) -> str:
    """Return the numbers that matter."""
    share = found / max(total, 1)
    return (
        f"**{found} of {total}** faults found ({share:.1%}); {len(alarms)} findings at warning or "
        f"above on the {len(models)} healthy models; {seconds:.0f} s in all."
    )


def absent(faults: Sequence[Fault], models: Sequence[str]) -> Iterator[str]:
    """Yield why faults do not apply, one line for each reason."""
    for fault in faults:
        reasons: dict[str, list[str]] = {}
        for model in models:
            if model in fault.reasons:
                reasons.setdefault(fault.reasons[model], []).append(model)
        for reason, named in reasons.items():
            yield f"* {fault.name}, {', '.join(named)}: {reason}"


def listed(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a list below its title, nothing where it is empty."""
    found = list(lines)
    if found:
        yield f"{title}:"
        yield ""
        yield from (f"* {line}" for line in found)
        yield ""


def main() -> int:
    """Print what was found of each fault in each model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fault", action="append", help="part of a fault's name; all by default")
    parser.add_argument("--model", action="append", choices=MODELS, help="all by default")
    parser.add_argument("--write", metavar="PAGE", type=Path, help="page that holds the table")
    arguments = parser.parse_args()
    models = [each for each in MODELS if not arguments.model or each in arguments.model]
    faults = [
        fault
        for fault in FAULTS
        if not arguments.fault or any(part in fault.name for part in arguments.fault)
    ]
    cells: dict[tuple[str, str], str] = {}
    misses: list[str] = []
    alarms: list[str] = []
    spoke: Counter[str] = Counter()
    started = time.perf_counter()
    with Bench() as bench:
        for model in models:
            if not arguments.fault:
                outcome = bench.run(model, text_of(model), options_for(SLOW, {}))
                alarms += [f"{model}: {line}" for line in loud(outcome.report)]
                print(
                    f"{model}: {len(loud(outcome.report))} alarms, {outcome.seconds:.1f} s",
                    flush=True,
                )
            for fault in faults:
                text = fault.applied(model, text_of(model))
                if text is None:
                    cells[fault.name, model] = ABSENT
                    continue
                outcome = bench.run(model, text, options_for(fault.slow, fault.options_for(model)))
                rules = outcome.rules(fault)
                cells[fault.name, model] = FOUND if rules else MISSED
                spoke.update(rules)
                said = ", ".join(rules)
                if not rules:
                    others = sorted({line.partition(":")[0] for line in loud(outcome.report)})
                    why = outcome.reason or f"others: {', '.join(others) or 'silent'}"
                    misses.append(f"{fault.name} in {model}: {why}")
                    said = f"MISSED ({why})"
                print(f"{model}: {fault.name}: {said}, {outcome.seconds:.1f} s", flush=True)
    found = sum(cell == FOUND for cell in cells.values())
    total = sum(cell != ABSENT for cell in cells.values())
    text = "\n".join(
        (
            f"{versions()}.",
            "",
            headline(found, total, alarms, models, time.perf_counter() - started),
            "",
            *rows(cells, faults, models),
            "",
            f"A {ABSENT} marks what a model cannot have:",
            "",
            *absent(faults, models),
            "",
            *listed("Missed", misses),
            *listed("Said of healthy models", alarms),
            *listed("Rules that spoke", (f"{rule} {count}" for rule, count in spoke.most_common())),
        )
    )
    print(text)
    if arguments.write:
        write_section(arguments.write, "mutations", text)
    return int(bool(alarms) or found < BOUND * total)


if __name__ == "__main__":
    raise SystemExit(main())
