"""Lint the models of torchvision, timm and transformers: reach, alarms per model, time.

Usage: python benchmarks/zoo.py [--kind torchvision|timm|transformers] [--every N] [NAME ...]
       python benchmarks/zoo.py --gate

Each model is built with random weights and linted live (`nnlint.lint(model)`) in a process of its
own, with limits of time and memory. All of torchvision's models are taken, every eighth of timm's,
and small configurations of transformers. They are healthy: whatever is reported at warning or above
counts as a false alarm. A model counts as reached when rules saw its graph.

The gate takes torchvision's models and twenty of timm's, and fails for a single alarm. It leaves out
the largest ones, which take minutes to build; smaller ones of the same family are in it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import versions, write_section
from tests import healthy

EVERY = {"torchvision": 1, "timm": 8, "transformers": 1}
GATE_TIMM = 20
SECONDS = 180
MEMORY = 12 * 1024**3


@dataclass(frozen=True, slots=True)
class Row:
    """What linting one model gave.

    Attributes:
        name: The model.
        build: Seconds to build it.
        seconds: Processor seconds to lint it.
        capture: How its graph was taken, "" where there is none.
        reason: Why there is none.
        shapes: Share of the operations whose shape is known.
        alarms: Rule and message of each finding at warning or above.
    """

    name: str
    build: float = 0.0
    seconds: float = 0.0
    capture: str = ""
    reason: str = ""
    alarms: list[list[str]] = field(default_factory=list)


def lint(name: str) -> Row:
    """Build and lint one model in this process."""
    import nnlint
    from nnlint.linter.findings import Severity

    begin = time.monotonic()
    model = healthy.make(name)
    built, used = time.monotonic() - begin, time.process_time()
    report = nnlint.lint(model)
    (found,) = report.models
    alarms = [
        [f.rule, f"{Path(f.location.path).name}:{f.location.line}: {f.message}"[:250]]
        for f in report.findings
        if f.severity is not Severity.NOTE
    ]
    return Row(
        name, built, time.process_time() - used, found.capture or "", found.reason[:250], alarms[:9]
    )


def gate() -> list[str]:
    """Return the models that must be silent."""
    vision, timm = (
        [n for n in healthy.names(kind) if not healthy.is_large(n)]
        for kind in ("torchvision", "timm")
    )
    return [*vision, *timm[:: len(timm) // GATE_TIMM][:GATE_TIMM]]


def in_child(name: str) -> Row:
    """Build and lint one model in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        status = 1
        try:
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            try:
                row = lint(name)
            except Exception as error:  # noqa: BLE001 - one model must not stop the others
                last = traceback.extract_tb(error.__traceback__)[-1]
                text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                row = Row(name, reason=f"{text} ({Path(last.filename).name}:{last.lineno})")
            with os.fdopen(write, "w") as pipe:
                json.dump(asdict(row), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if text:
        return Row(**json.loads(text))
    ended = os.waitstatus_to_exitcode(status)
    what = "takes too long" if ended == -signal.SIGALRM else f"ended with {ended}"
    return Row(name, reason=f"the process {what}")


def run(names: Sequence[str], jobs: int) -> Iterator[Row]:
    """Lint models, several at a time.

    Args:
        names: The models.
        jobs: How many processes share them.
    """
    import torch

    import nnlint
    from nnlint.linter.operators.base import table

    torch.set_num_threads(1)
    table()
    nnlint.lint(torch.nn.Linear(2, 2))  # imports what is needed, once for all children
    for kind in dict.fromkeys(name.partition(":")[0] for name in names):
        healthy.warm(kind)
    read, write = os.pipe()
    children = []
    for job in range(jobs):
        child = os.fork()
        if child == 0:
            os.close(read)
            for name in names[job::jobs]:
                # A line is shorter than what a pipe takes in one piece.
                os.write(write, json.dumps(asdict(in_child(name))).encode()[:4000] + b"\n")
            os._exit(0)
        children.append(child)
    os.close(write)
    with os.fdopen(read) as pipe:
        for line in pipe:
            yield Row(**json.loads(line))
    for child in children:
        os.waitpid(child, 0)


def summary(rows: Sequence[Row]) -> str:
    """Return the table of all kinds, then the alarms and what was not reached."""
    lines = [
        "| models | built | reached | share | with alarms | alarms | per 100 | s a model | longest |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in (*healthy.KINDS, "all"):
        chosen = [r for r in rows if kind in ("all", r.name.partition(":")[0])]
        if not chosen:
            continue
        reached = [r for r in chosen if r.capture]
        built = [r for r in chosen if r.build]
        alarms = sum(len(r.alarms) for r in chosen)
        noisy = sum(bool(r.alarms) for r in chosen)
        mean = sum(r.seconds for r in built) / max(len(built), 1)
        longest = max((r.seconds for r in built), default=0.0)
        lines.append(
            f"| {kind} | {len(chosen)} | {len(reached)} | {len(reached) / len(chosen):.1%} "
            f"| {noisy} | {alarms} | {100 * alarms / len(chosen):.1f} | {mean:.2f} | {longest:.1f} |"
        )
    captures = Counter(r.capture for r in rows if r.capture)
    lines.append("\ncaptured by " + ", ".join(f"{k}: {n}" for k, n in captures.most_common()))
    rules = Counter(rule for r in rows for rule, _ in r.alarms)
    lines += [f"{count:5}  {rule}" for rule, count in rules.most_common()]
    lines += [f"{r.name}: {rule}: {text}" for r in rows for rule, text in r.alarms]
    lines += [f"{r.name}: not reached: {r.reason}" for r in rows if not r.capture]
    return "\n".join(lines)


def main() -> int:
    """Run the bench; the exit code says whether reach and alarms are within their bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help='e.g. "timm:resnet18"')
    parser.add_argument("--kind", choices=healthy.KINDS, action="append")
    parser.add_argument("--every", type=int, help="take each Nth model of a kind")
    parser.add_argument("--gate", action="store_true", help="fail for a single alarm")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="write one line for each model")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into a page")
    options = parser.parse_args()
    names = options.names or (gate() if options.gate else [])
    names = names or [
        name
        for kind in options.kind or healthy.KINDS
        for name in healthy.names(kind, options.every or EVERY[kind])
    ]
    rows: list[Row] = []
    for row in run(names, options.jobs):
        rows.append(row)
        _tell(row)
        if options.json:
            options.json.write_text("".join(json.dumps(asdict(r)) + "\n" for r in rows))
    print(summary(rows))
    if options.write:
        table, _, rest = summary(rows).partition("\n\n")
        told = "\n".join(f"    {line}" for line in rest.splitlines())
        write_section(options.write, "zoo", f"{versions()}.\n\n{table}\n\n{told}")
    reached = sum(bool(r.capture) for r in rows)
    alarms = sum(len(r.alarms) for r in rows)
    return int(reached < 0.98 * len(names) or alarms > (0 if options.gate else 0.01 * len(names)))


def _tell(row: Row) -> None:
    what: Any = row.capture or row.reason
    print(f"{row.name:60} {row.build:6.1f} s {row.seconds:6.2f} s  {what}", file=sys.stderr)
    for rule, text in row.alarms:
        print(f"    {rule}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
