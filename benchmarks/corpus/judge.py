"""Joins what a run said of a tree with its classes and its labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.corpus.classes import ClassFact, defined_in, spans
from benchmarks.corpus.labels import Label

_OWN_LINES = frozenset({"built", "call"})


@dataclass(frozen=True, slots=True)
class Reached:
    """What became of one class.

    Attributes:
        obstacle: "" where it was analysed; else the report's, or "not-discovered".
        reason: The report's words.
        assumed: Whether constructor arguments had to be assumed.
    """

    tree: str
    fact: ClassFact
    obstacle: str = ""
    reason: str = ""
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of one label.

    Attributes:
        findings: Those that are of its kind and about its class.
        cause: For a silent one, the kind of `reason`.
        reason: Why it is silent.
    """

    label: Label
    findings: tuple[Mapping[str, Any], ...] = ()
    cause: str = ""
    reason: str = ""


@dataclass(slots=True, eq=False)
class Tree:
    """One checkout and what the run said of it.

    Attributes:
        failure: Why there is no result, "" where there is one.
        left: Files that the run has left in the tree.
    """

    root: Path
    classes: list[ClassFact]
    findings: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    checks: list[list[str]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    wall: float = 0.0
    parent_cpu: float = 0.0
    failure: str = ""
    left: list[str] = field(default_factory=list)
    _homes: dict[tuple[str, str], tuple[str, str] | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.root.name

    def place(self, path: str) -> str:
        """Return a path of a report as the classes have it."""
        whole = Path(path) if Path(path).is_absolute() else self.root / path
        whole = whole.resolve()
        root = self.root.resolve()
        return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else path

    def reports_of(self, path: str, name: str) -> list[dict[str, Any]]:
        """Return the reports of models that are a class, wherever they are built."""
        return [model for model in self.models if self._is(model, path, name)]

    def _is(self, model: Mapping[str, Any], path: str, name: str) -> bool:
        place = self.place(model["path"])
        for written in {model["name"], model["class_name"]} - {""}:
            if written == name and place == path:
                return True
            key = (place, written)
            if written == model["class_name"] and place != path:
                if key not in self._homes:
                    self._homes[key] = defined_in(self.root, *key)
                if self._homes[key] == (path, name):
                    return True
        return False


def reach(tree: Tree) -> Iterator[Reached]:
    """Tell for each class that counts what became of it."""
    for fact in tree.classes:
        if fact.kind != "model":
            continue
        if tree.failure:
            yield Reached(tree.name, fact, "tree-failed", tree.failure)
            continue
        reports = tree.reports_of(fact.path, fact.name)
        good = [report for report in reports if report["analysed"]]
        if good:
            yield Reached(tree.name, fact, assumed=all(report["assumed"] for report in good))
        elif reports:
            first = next((r for r in reports if r["name"] == fact.name), reports[0])
            yield Reached(tree.name, fact, first["obstacle"] or "unnamed", first["reason"])
        else:
            yield Reached(tree.name, fact, "not-discovered", _file_failure(tree, fact.path))


def _file_failure(tree: Tree, path: str) -> str:
    for finding in tree.findings:
        about_file = finding["code"] in {"NNL001", "NNL002"} and not finding["model"]
        if about_file and tree.place(finding["location"]["path"]) == path:
            return str(finding["message"])
    return ""


def judge(tree: Tree, label: Label, known: frozenset[str]) -> Verdict:
    """Tell what the run says of a label.

    Args:
        tree: The tree of the label.
        label: The label.
        known: Names of the rules that there are.
    """
    found = tuple(
        finding
        for finding in tree.findings
        if finding["rule"] in label.rules and _speaks_of(tree, finding, label)
    )
    if found:
        return Verdict(label, found)
    return Verdict(label, (), *_silence(tree, label, known))


def _speaks_of(tree: Tree, finding: Mapping[str, Any], label: Label) -> bool:
    """Tell whether a finding is about a class: on its lines, or of a model that is the class."""
    places = [finding["location"]]
    places += [r["location"] for r in finding["related"] if r["role"] in _OWN_LINES]
    lines = _lines(tree.root, label)
    for place in places:
        if tree.place(place["path"]) == label.path and any(
            first <= place["line"] <= last for first, last in lines
        ):
            return True
    names = {finding["model"], *finding["evidence"].get("models", ())} - {""}
    here = tree.place(finding["location"]["path"])
    reports = [model for model in tree.models if model["name"] in names]
    same_file = [model for model in reports if tree.place(model["path"]) == here]
    return any(model in (same_file or reports) for model in tree.reports_of(label.path, label.name))


def _lines(root: Path, label: Label) -> Sequence[tuple[int, int]]:
    """Return the lines of the definition that a label is about."""
    if not label.name or not (root / label.path).is_file():
        return [(label.line, label.line)]
    text = (root / label.path).read_text(encoding="utf-8", errors="replace")
    found = spans(text, label.name)
    around = [(first, last) for first, last in found if first <= label.line <= last]
    return around or found or [(label.line, label.line)]


def _silence(tree: Tree, label: Label, known: frozenset[str]) -> tuple[str, str]:
    """Tell why nothing was said of a label, in kind and in words."""
    if tree.failure:
        return "the tree was not linted", tree.failure
    if not known & set(label.rules):
        return "no rule", "there is no such rule"
    reports = tree.reports_of(label.path, label.name)
    good = [report for report in reports if report["analysed"]]
    if reports and not good:
        obstacle = f"not reached: {reports[0]['obstacle'] or 'unnamed'}"
        return obstacle, f"{obstacle}: {reports[0]['reason']}"
    if not good:
        near = [m for m in tree.models if tree.place(m["path"]) == label.path]
        analysed = sum(model["analysed"] for model in near)
        if not near and (failure := _file_failure(tree, label.path)):
            return "not reached: the file", f"not reached: {failure}"
        text = f"no model of its own; {analysed} of {len(near)} models of its file analysed"
        return "no model of its own", text
    names = {report["name"] for report in good}
    outcomes = {
        f"{rule}: {outcome}{f', {reason}' if reason else ''}"
        for rule, model, outcome, reason in tree.checks
        if rule in label.rules and model in names
    }
    text = "; ".join(sorted(outcomes)) or "no check of its kind"
    cause = "reached, not checked" if "not-checked" in text else "reached, silent"
    return cause, f"reached and silent; {text}"
