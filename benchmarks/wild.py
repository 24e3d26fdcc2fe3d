"""Run nnlint over a folder of checkouts and compare what it says with labels read by hand.

Prints Markdown: the reach, recall and precision by kind, alarms by rule, crashes, hangs, time. The
exit code is 0 whatever the numbers are; the tables are for people to judge.

Usage: python benchmarks/wild.py CHECKOUTS LABELS [--only GLOB] [--jobs N] [--json FILE] [--alarms]
       [--write docs/accuracy.md]

CHECKOUTS holds a folder OWNER__NAME@COMMIT (seven digits) for each repository. LABELS has a JSON
object a line: repo, commit, path, class, line, label (defect or clean), kind, scope, confidence,
evidence. Which rules a kind stands for is said in corpus/labels.py. Each tree is linted in a process
of its own, as `nnlint .` in its folder would.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import fnmatch
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.corpus import tables
from benchmarks.corpus.classes import survey
from benchmarks.corpus.judge import Reached, Tree, Verdict, judge, reach
from benchmarks.corpus.labels import Label, read_labels
from benchmarks.corpus.names import source_files
from benchmarks.pages import versions, write_section
from nnlint.linter.rules.base import all_rules

HERE = Path(__file__).resolve().parent
CHECKOUT = re.compile(r".+__.+@[0-9a-f]{7}$")
RUN = HERE / "corpus" / "run.py"


def lint_tree(root: Path, *, timeout: float, tree_timeout: float) -> Tree:
    """Count the classes of a tree and lint it in a process of its own."""
    tree = Tree(root, survey(root, source_files(root)))
    before = set(root.rglob("*"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "result.json")
        command = [sys.executable, str(RUN), str(root), str(out), "--timeout", str(timeout)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=tree_timeout, check=False
            )
        except subprocess.TimeoutExpired:
            tree.failure = f"the run took longer than {tree_timeout:.0f} s"
            return tree
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            tree.failure = f"the run ended with code {done.returncode}: {last}"
            return tree
        tree.left = sorted(str(path.relative_to(root)) for path in set(root.rglob("*")) - before)
        for name, value in json.loads(out.read_text(encoding="utf-8")).items():
            setattr(tree, name, value)
    return tree


def verdicts_of(trees: Sequence[Tree], labels: Sequence[Label]) -> list[Verdict]:
    """Judge the labels of the trees that were run."""
    known = frozenset(rule.name for rule in all_rules())
    by_name = {tree.name: tree for tree in trees}
    return [judge(by_name[label.tree], label, known) for label in labels if label.tree in by_name]


def summary(trees: Sequence[Tree], reached: Sequence[Reached], verdicts: Sequence[Verdict]) -> str:
    """Return the tables that name no tree."""
    parts = [
        f"{versions()}; {len(trees)} trees.\n",
        *tables.reach_tables(trees, reached),
        *tables.label_tables(verdicts),
        *tables.alarm_tables(trees, reached, explained_by(verdicts)),
        *tables.health_tables(trees),
    ]
    return "\n".join(parts)


def details(
    trees: Sequence[Tree],
    reached: Sequence[Reached],
    verdicts: Sequence[Verdict],
    *,
    every_alarm: bool,
) -> str:
    """Return what stands behind the numbers, one by one."""
    parts = [
        *tables.tree_tables(trees, reached),
        *tables.detail_tables(reached, verdicts),
        *(tables.all_alarms_table(trees, explained_by(verdicts)) if every_alarm else ()),
    ]
    return "\n".join(parts)


def explained_by(verdicts: Sequence[Verdict]) -> set[tuple[str, str]]:
    """Return the tree and the identity of each finding that a labelled defect explains."""
    return {
        (verdict.label.tree, tables.identity(dict(finding)))
        for verdict in verdicts
        if verdict.label.defect
        for finding in verdict.findings
    }


def write_json(
    path: Path, trees: Sequence[Tree], reached: Sequence[Reached], verdicts: Sequence[Verdict]
) -> None:
    """Write down everything that the tables are made of."""
    content = {
        "versions": versions(),
        "reached": [asdict(each) for each in reached],
        "verdicts": [asdict(each) for each in verdicts],
        "trees": {
            tree.name: {
                name: getattr(tree, name)
                for name in (
                    "failure",
                    "findings",
                    "models",
                    "checks",
                    "jobs",
                    "parent_cpu",
                    "left",
                )
            }
            for tree in trees
        },
    }
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("checkouts", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--only", default="*", metavar="GLOB", help="names of the folders to run")
    parser.add_argument("--jobs", type=int, default=1, help="trees at once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where everything is written")
    parser.add_argument("--alarms", action="store_true", help="list every alarm")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the summary into a page")
    parser.add_argument("--timeout", type=float, default=0.0, help="seconds for a file")
    parser.add_argument("--tree-timeout", type=float, default=3600.0, help="seconds for a tree")
    options = parser.parse_args(arguments)
    labels = read_labels(options.labels)
    roots = sorted(
        path.resolve()
        for path in options.checkouts.iterdir()
        if path.is_dir() and CHECKOUT.match(path.name) and fnmatch.fnmatch(path.name, options.only)
    )

    def one(root: Path) -> Tree:
        tree = lint_tree(root, timeout=options.timeout, tree_timeout=options.tree_timeout)
        print(f"{root.name}: {tree.wall:.0f} s {tree.failure}".rstrip(), file=sys.stderr)
        return tree

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as executor:
        trees = list(executor.map(one, roots))
    reached = [each for tree in trees for each in reach(tree)]
    verdicts = verdicts_of(trees, labels)
    print("# nnlint on code in the wild\n")
    absent = sorted({label.tree for label in labels} - {root.name for root in roots})
    if absent and options.only == "*":
        print(f"No checkout for the labels of {', '.join(absent)}.\n")
    shown = summary(trees, reached, verdicts)
    print(shown)
    print(details(trees, reached, verdicts, every_alarm=options.alarms))
    if options.write:
        # Headings of the page itself stand above those of the tables.
        write_section(options.write, "wild", shown.replace("## ", "### "))
    if options.json:
        write_json(options.json, trees, reached, verdicts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
