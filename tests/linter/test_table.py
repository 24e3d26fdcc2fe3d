from __future__ import annotations

from nnlint.linter.findings import Check, Finding, Location, ModelReport, Outcome, Report, Severity
from nnlint.linter.table import render


def test_a_report_becomes_a_table() -> None:
    finding = Finding(
        "some-rule",
        "NNL990",
        Severity.WARNING,
        "a message that is longer than its column is wide, and so goes on in the next line\x1b",
        Location("src/net.py", 3),
        modules=("features.3", "features.7"),
    )
    models = (ModelReport("Other", "m.py", 1, analysed=False, reason="it has no forward"),)
    checks = (Check("some-rule", "NNL990", "Net", Outcome.FOUND),)
    where = "features.3 and 1 more (src/net.py:3)"
    assert render(Report((finding,), models, checks)).splitlines() == [
        f"severity  rule       {'where':36}  message",
        f"{'-' * 8}  {'-' * 9}  {'-' * 36}  {'-' * 56}",
        f"warning   some-rule  {where}  a message that is longer than its column is wide, and so",
        " " * 59 + "goes on in the next line?",
        "",
        "1 warning (1 check: 0 passed, 0 not checked)",
        "Other was not analysed: it has no forward",
    ]


def test_a_clean_report_is_one_line() -> None:
    assert render(Report()) == "no findings"
