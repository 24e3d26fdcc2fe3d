"""Sentences that several commands and formats say."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from nnlint.linter.findings import ModelReport, Outcome, Report, Severity

_MODULES_SHOWN = 2
_ASSUMED_SHOWN = 4


def count_of(number: int, noun: str) -> str:
    """Return "1 model", "2 models"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def list_some(names: Sequence[str], limit: int = _MODULES_SHOWN) -> str:
    """Return "a", "a and b", or "a, b and 4 more"."""
    if len(names) > limit + 1:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    if len(names) > 1:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return "".join(names)


def assumed(model: ModelReport) -> str:
    """Return the arguments that were assumed to build a model: "size=64, classes=10"."""
    values = [f"{_argument(key, model.name)}={value}" for key, value in model.assumed.items()]
    more = len(values) - _ASSUMED_SHOWN
    shown = ", ".join(values[:_ASSUMED_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def _argument(key: str, model: str) -> str:
    """Return "size" for "Net(size)" of Net, and "Encoder(size)" as it is."""
    inner = key.removeprefix(f"{model}(")
    return inner.replace(")", "", 1) if inner != key else key


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?", or "" when nothing comes close."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {close[0]!r}?" if close else ""


def summary(report: Report) -> str:
    """Return the counts of a run in one line."""
    numbers = [
        count_of(sum(finding.severity is severity for finding in report), severity.value)
        for severity in Severity
    ]
    found = ", ".join(number for number in numbers if not number.startswith("0 "))
    return f"{found or 'no findings'}{_models(report)}{_probes(report)}{_checks(report)}"


def _models(report: Report) -> str:
    if not report.models:
        return ", no models found"
    missed = sum(not model.analysed for model in report.models)
    text = f" in {count_of(len(report.models), 'model')}"
    if not missed:
        return text
    if missed == len(report.models):
        return f"{text}, not analysed" if missed == 1 else f"{text}, none of them analysed"
    return f"{text}, {missed} of them not analysed"


def _probes(report: Report) -> str:
    missed = sum(probed.status == "not-probed" for probed in report.probes)
    if not missed:
        return ""
    return ", none of them probed" if missed == len(report.probes) else f", {missed} not probed"


def _checks(report: Report) -> str:
    if not report.checks:
        return ""
    found, passed = report.count(Outcome.FOUND), report.count(Outcome.PASSED)
    missed = report.count(Outcome.NOT_CHECKED)
    return (
        f" ({count_of(len(report.checks), 'check')}: "
        f"{found} found, {passed} passed, {missed} not checked)"
    )
