"""The results as Markdown tables."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.corpus.judge import Reached, Tree, Verdict
from benchmarks.corpus.labels import NOTES

_LONGEST = 160
_APART = {
    "part": "built by another module class of their file",
    "loss": "losses",
    "not-python-3": "in files that are not Python 3",
    "base-not-installed": "base from a package that is not installed",
}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; columns after the first are numbers where the first row has them."""
    rows = [[_cell(value) for value in row] for row in rows]
    if not rows:
        return "None.\n"
    marks = ["---:" if text.strip("%<.,- ").isdigit() else "---" for text in rows[0]]
    lines = [list(head), marks, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: object) -> str:
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def share(part: int, whole: int) -> str:
    """Return a share in per cent."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def reach_tables(trees: Sequence[Tree], reached: Sequence[Reached]) -> Iterator[str]:
    """Yield the reach, and what stands between, by obstacle."""
    yield "## Reach\n"
    books = [each for each in reached if each.fact.path.endswith(".ipynb")]
    reached = [each for each in reached if each not in books]
    yield _reach(reached, "top-level model classes")
    if books:
        yield _reach(books, "top-level model classes of notebooks")
    kinds = Counter(fact.kind for tree in trees for fact in tree.classes)
    yield table(
        ["counted apart", "classes"], [(text, kinds[kind]) for kind, text in _APART.items()]
    )
    obstacles = Counter(each.obstacle for each in reached if each.obstacle)
    yield table(
        ["obstacle", "classes", "share"],
        [(name, n, share(n, len(reached))) for name, n in obstacles.most_common()],
    )


def _reach(reached: Sequence[Reached], what: str) -> str:
    good = [each for each in reached if not each.obstacle]
    assumed = sum(each.assumed for each in good)
    return (
        f"{len(good)} of {len(reached)} {what} analysed: **{share(len(good), len(reached))}** "
        f"({assumed} with assumed arguments).\n"
    )


def label_tables(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield recall and false alarms by kind."""
    judged = [each for each in verdicts if each.label.counts]
    defects = [each for each in judged if each.label.defect]
    clean = [each for each in judged if not each.label.defect]
    core = [each for each in defects if each.label.kind not in NOTES]
    found = sum(bool(each.findings) for each in core)
    alarms = sum(bool(each.findings) for each in clean)
    yield "## Recall\n"
    yield f"**{share(found, len(core))}** of {len(core)} defects of class scope ({found}).\n"
    yield table(["kind", "defects", "found", "recall", "false alarms", "precision"], _kinds(judged))
    causes = Counter(each.cause for each in core if not each.findings)
    yield table(["defects missed, by cause", "labels"], causes.most_common())
    yield "## False alarms\n"
    yield f"**{alarms}** of {len(clean)} clean labels have a report of their kind.\n"
    rows = []
    for kind in sorted({each.label.kind for each in clean}):
        members = [each for each in clean if each.label.kind == kind]
        loud = [each for each in members if any(f["severity"] != "note" for f in each.findings)]
        rows.append((kind, len(members), sum(bool(each.findings) for each in members), len(loud)))
    yield table(["clean kind", "labels", "with a report", "at warning or above"], rows)


def apart_table(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield what was said of the labels that neither the recall nor the alarms count."""
    apart = [each for each in verdicts if not each.label.counts]
    yield "## Labels of other scopes or of low confidence\n"
    yield table(
        ["label", "kind", "expected", "said"],
        [
            (
                v.label.where,
                f"{v.label.kind} ({v.label.scope}, {v.label.confidence})",
                "report" if v.label.defect else "silence",
                "report" if v.findings else v.reason,
            )
            for v in apart
        ],
    )


def _kinds(judged: Sequence[Verdict]) -> Iterator[Sequence[object]]:
    """Yield a row for each kind of defect; an alarm on a clean class counts for its rule's kind."""
    defects = [each for each in judged if each.label.defect]
    for kind in sorted({each.label.kind for each in defects}):
        members = [each for each in defects if each.label.kind == kind]
        rules = {rule for each in members for rule in each.label.rules}
        found = sum(bool(each.findings) for each in members)
        false = sum(
            any(finding["rule"] in rules for finding in each.findings)
            for each in judged
            if not each.label.defect
        )
        yield (
            kind,
            len(members),
            found,
            share(found, len(members)),
            false,
            share(found, found + false),
        )


def tree_tables(trees: Sequence[Tree], reached: Sequence[Reached]) -> Iterator[str]:
    """Yield the reach by tree, what ended each crash and hang, and what the runs left behind."""
    yield "## Reach by tree\n"
    by_tree: dict[str, list[Reached]] = defaultdict(list)
    for each in reached:
        by_tree[each.tree].append(each)
    rows = []
    for name, members in by_tree.items():
        done = sum(not each.obstacle for each in members)
        rows.append((name, len(members), done, share(done, len(members))))
    yield table(["tree", "classes", "analysed", "reach"], rows)
    yield "## Crashes, one by one\n"
    yield table(["tree", "file", "what"], _crashes(trees))
    yield "## Hangs, one by one\n"
    yield table(["tree", "file", "after"], _hangs(trees))
    slowest = sorted(
        (
            (job["cpu"], job["wall"], f"{tree.name}/{job['path']}")
            for tree in trees
            for job in tree.jobs
        ),
        reverse=True,
    )
    yield "## Slowest files\n"
    yield table(["CPU, s", "wall, s", "file"], slowest[:10])
    yield "## Files that the runs left behind\n"
    yield table(["tree", "file"], [(tree.name, path) for tree in trees for path in tree.left])


def detail_tables(reached: Sequence[Reached], verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield each miss, each false alarm and each class that was not reached, with the reason."""
    missed = [v for v in verdicts if v.label.counts and v.label.defect and not v.findings]
    yield from apart_table(verdicts)
    yield "## Defects missed\n"
    yield table(
        ["label", "kind", "why"],
        [(v.label.where, f"{v.label.kind} ({v.label.confidence})", v.reason) for v in missed],
    )
    yield "## False alarms, one by one\n"
    yield table(
        ["label", "kind", "said", "severity", "where"],
        [
            (
                v.label.where,
                v.label.kind,
                f"{finding['rule']}: {finding['message']}",
                finding["severity"],
                f"{finding['location']['path']}:{finding['location']['line']}",
            )
            for v in verdicts
            if not v.label.defect
            for finding in v.findings
        ],
    )
    yield "## Classes not reached\n"
    yield table(
        ["class", "obstacle", "reason"],
        [
            (f"{r.tree}/{r.fact.path}:{r.fact.line} {r.fact.name}", r.obstacle, r.reason)
            for r in reached
            if r.obstacle
        ],
    )


def alarm_tables(
    trees: Sequence[Tree], reached: Sequence[Reached], explained: set[tuple[str, str]]
) -> Iterator[str]:
    """Yield how many alarms each rule raises at warning or above.

    Args:
        trees: The trees.
        reached: The classes.
        explained: Tree and identity of the findings that a labelled defect explains.
    """
    number = sum(not each.obstacle for each in reached)
    by_rule: Counter[str] = Counter()
    known: Counter[str] = Counter()
    for tree in trees:
        for finding in alarms(tree):
            by_rule[finding["rule"]] += 1
            known[finding["rule"]] += (tree.name, identity(finding)) in explained
    total = sum(by_rule.values())
    yield "## Alarms at warning or above\n"
    per = 1000 / number if number else 0.0
    yield f"{total} alarms, **{total * per:.0f}** per 1000 analysed classes.\n"
    yield table(
        ["rule", "alarms", "per 1000 classes", "on labelled defects"],
        [(rule, n, f"{n * per:.1f}", known[rule]) for rule, n in by_rule.most_common()],
    )


def alarms(tree: Tree) -> list[dict[str, Any]]:
    """Return the findings about models at warning or above."""
    return [
        finding
        for finding in tree.findings
        if finding["severity"] != "note" and not finding["code"].startswith("NNL0")
    ]


def identity(finding: dict[str, Any]) -> str:
    """Return what tells a finding from the others of its tree."""
    place = finding["location"]
    return f"{place['path']}:{place['line']}:{place['column']} {finding['code']} {finding['model']}"


def all_alarms_table(trees: Sequence[Tree], explained: set[tuple[str, str]]) -> Iterator[str]:
    """Yield every alarm at warning or above."""
    yield "## Every alarm at warning or above\n"
    yield table(
        ["where", "severity", "said", "labelled"],
        [
            (
                f"{tree.name}/{f['location']['path']}:{f['location']['line']} {f['model']}",
                f["severity"],
                f"{f['rule']}: {f['message']}",
                "defect" if (tree.name, identity(f)) in explained else "",
            )
            for tree in trees
            for f in alarms(tree)
        ],
    )


def health_tables(trees: Sequence[Tree]) -> Iterator[str]:
    """Yield how often something went wrong, and what the files took."""
    left = sum(len(tree.left) for tree in trees)
    yield "## Crashes, hangs, side effects\n"
    yield (
        f"{len(_crashes(trees))} crashes, {len(_hangs(trees))} hangs, {left} files left behind.\n"
    )
    yield from _times(trees)


def _crashes(trees: Sequence[Tree]) -> list[Sequence[str]]:
    found = [
        (tree.name, f["location"]["path"], f["message"])
        for tree in trees
        for f in tree.findings
        if f["code"] == "NNL002"
    ]
    found += [
        (tree.name, model["path"], model["reason"])
        for tree in trees
        for model in tree.models
        if model["obstacle"] in {"internal", "crash"}
    ]
    found += [
        (tree.name, job["path"], f"its worker ended with code {job['code']}")
        for tree in trees
        for job in tree.jobs
        if job["code"] and not job["limit"]
    ]
    found += [(tree.name, "", tree.failure) for tree in trees if tree.failure]
    return sorted(set(found))


def _hangs(trees: Sequence[Tree]) -> list[Sequence[str]]:
    return [
        (tree.name, job["path"], f"{job['wall']:.0f} s")
        for tree in trees
        for job in tree.jobs
        if job["limit"]
    ]


def _times(trees: Sequence[Tree]) -> Iterator[str]:
    wall: dict[tuple[str, str], float] = defaultdict(float)
    cpu: dict[tuple[str, str], float] = defaultdict(float)
    for tree in trees:
        for job in tree.jobs:
            wall[tree.name, job["path"]] += job["wall"]
            cpu[tree.name, job["path"]] += job["cpu"]
    yield "## Time per model file, beyond importing torch\n"
    if not wall:
        yield "No file was run.\n"
        return
    parent = sum(tree.parent_cpu for tree in trees) / len(wall)
    yield (
        f"{len(wall)} files that were run. Mean CPU of the whole run, with reading and searching all "
        f"files: **{statistics.fmean(cpu.values()) + parent:.2f} s** a file, of which {parent:.2f} s "
        "in the parent.\n"
    )
    yield table(
        ["seconds", "mean", "p50", "p95", "max"],
        [
            (
                name,
                statistics.fmean(values.values()),
                _quantile(values.values(), 0.5),
                _quantile(values.values(), 0.95),
                max(values.values()),
            )
            for name, values in (("CPU of the worker", cpu), ("wall of the worker", wall))
        ],
    )


def _quantile(values: Iterable[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]
