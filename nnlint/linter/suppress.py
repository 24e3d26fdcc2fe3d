"""Suppression by comment: `# nnlint: ignore[rule-name, NNL101] -- reason`.

At the end of a line it holds for the statement on it, on a line of its own for the next statement,
and `file-ignore` for the file. A finding is suppressed by a comment at its own line, or at the
line that builds or calls the layer, or at the model's class line.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nnlint.linter.comments import Comment, NamedRule, read_comments
from nnlint.linter.findings import Finding, Location, Outcome, Report
from nnlint.linter.notebook import located
from nnlint.linter.rules.base import Category, Rule, rule_by_key
from nnlint.linter.rules.tool.invalid_suppression import InvalidSuppression
from nnlint.linter.rules.tool.unused_suppression import UnusedSuppression
from nnlint.linter.selection import rules_for, suggest
from nnlint.linter.settings import LintSettings

FORM = "write `# nnlint: ignore[rule-name] -- reason`"
_OWN = frozenset({UnusedSuppression.code, InvalidSuppression.code})
_ROLES = frozenset({"built", "call", "class"})
# What other linters call it.
_SYNONYMS = frozenset({"disable", "disable-next", "noqa", "skip", "off", "allow", "suppress"})


@dataclass(frozen=True, slots=True)
class Suppression:
    """One rule that one comment suppresses."""

    path: str
    comment: Comment
    named: NamedRule
    rule: type[Rule]

    def covers(self, place: Location) -> bool:
        """Return whether a place lies on the lines that the comment is about."""
        if place.path != self.path:
            return False
        if self.comment.kind == "file-ignore":
            return True
        first, last = self.comment.lines
        return first <= place.line <= last

    def suppresses(self, finding: Finding) -> bool:
        """Return whether a finding, or the layer or model it is about, is on these lines."""
        if finding.code != self.rule.code:
            return False
        path = finding.location.path
        related = (
            place.location
            for place in finding.related
            if place.role in _ROLES and place.location.path == path
        )
        return any(map(self.covers, (finding.location, *related)))

    @property
    def location(self) -> Location:
        """The rule's name in the comment."""
        line, named = self.comment.line, self.named
        return Location(self.path, line, named.column, line, named.end_column)


def apply(report: Report, sources: Mapping[str, str], ran: frozenset[str]) -> Report:
    """Move what comments suppress out of a report's findings, and judge the comments.

    Args:
        report: What the rules found.
        sources: Text of each file whose comments count.
        ran: Codes or names of the rules that ran, this module's own two among them.

    Returns:
        The report with NNL005 and NNL006 added and suppressed findings set apart, each of these
        with the comment's line, cell in a notebook, and reason under "suppression" in its evidence.
    """
    ran = frozenset(rule.code for key in ran if (rule := rule_by_key().get(key)))
    suppressions: list[Suppression] = []
    invalid: list[Finding] = []
    for path, text in sources.items():
        for comment in read_comments(text):
            good, bad = _read(path, comment)
            suppressions += good
            invalid += bad
    used = {one for one in suppressions if any(map(one.suppresses, report.suppressed))}
    kept, hidden = _divide(report.findings, suppressions, used, sources)
    own = [finding for finding in invalid if finding.code in ran]
    if UnusedSuppression.code in ran:
        own += _unused(report, suppressions, used, ran, sources)
    more, own_hidden = _divide(own, suppressions, used, sources)
    # A report that comments were applied to already stays as it is.
    more = [finding for finding in more if finding not in kept]
    own_hidden = [finding for finding in own_hidden if finding not in report.suppressed]
    seen = {finding.location.path for finding in (*more, *own_hidden)}
    return dataclasses.replace(
        report,
        findings=tuple(sorted((*kept, *more), key=_order)),
        suppressed=tuple(sorted((*report.suppressed, *hidden, *own_hidden), key=_order)),
        sources={**report.sources, **{path: sources[path] for path in sorted(seen)}},
    )


def apply_to_run(
    report: Report,
    sources: Mapping[str, str],
    rules: Sequence[type[Rule]],
    settings: LintSettings,
) -> Report:
    """Apply the comments of a run's files, with what `per-file-ignores` says about NNL005, NNL006.

    Args:
        report: What the rules found.
        sources: Text of each linted file.
        rules: The rules of the run.
        settings: Its settings.
    """
    applied = apply(report, sources, frozenset(rule.code for rule in rules))
    own = [rule for rule in rules if rule.code in _OWN]
    allowed = {path: {rule.code for rule in rules_for(path, own, settings)} for path in sources}
    findings = tuple(
        finding
        for finding in applied.findings
        if finding.code not in _OWN or finding.code in allowed.get(finding.location.path, _OWN)
    )
    return dataclasses.replace(applied, findings=findings)


def _order(finding: Finding) -> tuple[str, int, int, str, str]:
    place = finding.location
    return place.path, place.line, place.column, finding.code, finding.message


def _divide(
    findings: tuple[Finding, ...] | list[Finding],
    suppressions: list[Suppression],
    used: set[Suppression],
    sources: Mapping[str, str],
) -> tuple[list[Finding], list[Finding]]:
    kept, hidden = [], []
    for finding in findings:
        by = [one for one in suppressions if one.suppresses(finding)]
        used.update(by)
        if not by:
            kept.append(finding)
            continue
        one = next((one for one in by if one.comment.reason), by[0])
        cell, place = located(one.location, sources)
        note = {"line": place.line, "reason": one.comment.reason or ""}
        if cell is not None:
            note["cell"] = cell
        hidden.append(
            dataclasses.replace(finding, evidence={**finding.evidence, "suppression": note})
        )
    return kept, hidden


def _read(path: str, comment: Comment) -> tuple[list[Suppression], list[Finding]]:
    """Return what a comment suppresses and what is wrong with it."""
    whole = Location(path, comment.line, comment.column, comment.line, comment.end_column)
    if comment.kind is None:
        return [], [_invalid(whole, *_unknown_word(comment.word))]
    if not comment.rules:
        message = f"`{comment.kind}` names no rule, so it suppresses nothing"
        return [], [_invalid(whole, message, FORM)]
    good, bad = [], []
    for named in comment.rules:
        rule = rule_by_key().get(named.text) or rule_by_key().get(named.text.upper())
        if rule is not None:
            good.append(Suppression(path, comment, named, rule))
            continue
        place = Location(path, comment.line, named.column, comment.line, named.end_column)
        hint = suggest(named.text)
        bad.append(_invalid(place, f"unknown rule {named.text!r} in a suppression", hint))
    if comment.rest:
        bad.append(
            _invalid(whole, f"{comment.rest!r} follows the brackets", "a reason starts with `--`")
        )
    return good, bad


def _unknown_word(word: str) -> tuple[str, str]:
    if not word:
        return "this comment asks nnlint for nothing", FORM
    close = difflib.get_close_matches(word.lower(), ("ignore", "file-ignore"), 1)
    if close:
        return f"`nnlint: {word}` means nothing", f"did you mean `nnlint: {close[0]}[...]`?"
    if word.lower() in _SYNONYMS:
        return f"`nnlint: {word}` means nothing", FORM
    return f"`nnlint: {word}` means nothing", f"{FORM}, or leave out the colon after nnlint"


def _invalid(place: Location, message: str, hint: str) -> Finding:
    return _own_finding(InvalidSuppression, place, message, hint[:1].upper() + hint[1:])


def _own_finding(rule: type[Rule], place: Location, message: str, text: str) -> Finding:
    return Finding(rule.name, rule.code, rule.severity, message, place, help=text)


def _unused(
    report: Report,
    suppressions: list[Suppression],
    used: set[Suppression],
    ran: frozenset[str],
    sources: Mapping[str, str],
) -> Iterator[Finding]:
    for one in suppressions:
        if one not in used and one.rule.code not in _OWN and _was_judged(one, report, ran):
            lines = one.comment.lines
            first, last = (located(Location(one.path, n), sources)[1].line for n in lines)
            where = "in this file"
            if one.comment.kind == "ignore":
                where = f"on line {first}" if first == last else f"on lines {first} to {last}"
            text = "Remove the comment" if len(one.comment.rules or ()) == 1 else "Remove the name"
            yield _own_finding(
                UnusedSuppression,
                one.location,
                f"{one.rule.name} is suppressed here but finds nothing {where}",
                f"{text}, so that the rule speaks when it has something to say.",
            )


def _was_judged(one: Suppression, report: Report, ran: frozenset[str]) -> bool:
    """Return whether the rule had its say about every model of the comment's file."""
    models = [model for model in report.models if model.path == one.path]
    if one.rule.code not in ran or not models or not all(model.analysed for model in models):
        return False
    names = {model.name for model in models}
    checks = [check for check in report.checks if check.model in names]
    own = [check for check in checks if check.code == one.rule.code]
    if any(check.outcome is Outcome.NOT_CHECKED for check in own):
        return False
    if one.rule.category is Category.PROBE:  # A lint does not run it.
        return bool(own)
    # A rule that `per-file-ignores` turned off has no check; the tool's own rules never have one.
    return bool(own) or not checks or one.rule.category is Category.TOOL
