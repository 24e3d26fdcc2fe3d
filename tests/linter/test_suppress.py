from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nnlint.linter.comments import read_comments
from nnlint.linter.findings import (
    Check,
    Finding,
    Location,
    ModelReport,
    Outcome,
    Related,
    Report,
    Severity,
)
from nnlint.linter.rules.base import rule_by_key
from nnlint.linter.suppress import apply

NAME, CODE = "import-failed", "NNL001"
RAN = frozenset({CODE, "NNL002", "NNL005", "NNL006"})
MODEL = ModelReport("Net", "m.py", 1, analysed=True)


def finding(line: int, code: str = CODE, **values: Any) -> Finding:
    name = rule_by_key()[code].name
    return Finding(name, code, Severity.ERROR, "m", Location("m.py", line), **values)


def run(text: str, *findings: Finding, **values: Any) -> Report:
    ran = values.pop("ran", RAN)
    report = Report(findings, **{"models": (MODEL,), **values})
    return apply(report, {"m.py": text}, ran)


def lines(findings: tuple[Finding, ...]) -> list[tuple[int, str]]:
    return [(each.location.line, each.code) for each in findings]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1  # nnlint: ignore[import-failed] -- why\n", 1),
        ("x = 1  # nnlint: ignore[NNL001]\n", 1),
        ("x = 1  #nnlint:ignore[ nnl001 , NNL002 ]\n", 1),
        ("x = 1  # noqa: E501  # nnlint: ignore[NNL001]\n", 1),
        ("# nnlint: ignore[NNL001]\n\n# more\nx = 1\n", 4),
        ("# nnlint: ignore[NNL001]\nx = f(\n    1,\n)\n", 3),
        ("x = f(\n    1,\n)  # nnlint: ignore[NNL001]\n", 1),
        ("x = f(  # nnlint: ignore[NNL001]\n    1,\n)\n", 2),
        ("x = f(\n    # nnlint: ignore[NNL001]\n    1,\n)\n", 3),
        ("# nnlint: ignore[NNL001]\n@f\n@g\nclass N:\n    x = 1\n", 4),
        ("class N:  # nnlint: ignore[NNL001]\n    x = 1\n", 1),
        ("class N:\n    # nnlint: ignore[NNL001]\n    x = 1\n", 3),
        ("x = 1\ny = 2\n# nnlint: file-ignore[NNL001] -- all\n", 1),
        ("x = 1  # nnlint: ignore[NNL001]", 1),
        ("x = '''\n'''  # nnlint: ignore[NNL001]\n", 1),
    ],
)
def test_a_comment_suppresses_findings_on_its_lines(text: str, line: int) -> None:
    report = run(text, finding(line))
    assert CODE not in {each.code for each in report.findings}
    assert lines(report.suppressed) == [(line, CODE)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = '# nnlint: ignore[NNL001]'\n", 1),
        ("x = '''\n# nnlint: ignore[NNL001]\n'''\n", 3),
        ("x = 1  # nnlint: ignore[NNL001]\ny = 2\n", 2),
        ("# nnlint: ignore[NNL001]\nx = 1\ny = 2\n", 3),
        ("class N:  # nnlint: ignore[NNL001]\n    x = 1\n", 2),
        ("x = 1  # nnlint: ignore[NNL002]\n", 1),
        ("x = 1  # nnlint: ignore\n", 1),
        ("x = 1  # nnlint: ignore[]\n", 1),
        ("x = 1  # nnlint ignore[NNL001]\n", 1),
    ],
)
def test_other_lines_and_rules_are_not_suppressed(text: str, line: int) -> None:
    report = run(text, finding(line))
    assert (line, CODE) in lines(report.findings)
    assert not report.suppressed


@pytest.mark.parametrize(
    ("role", "path", "expected"),
    [
        ("built", "m.py", True),
        ("call", "m.py", True),
        ("class", "m.py", True),
        ("loss", "m.py", False),
        ("evidence", "m.py", False),
        ("built", "other.py", False),
    ],
)
def test_a_comment_counts_where_the_layer_is_built_or_called(
    role: Any, path: str, expected: bool
) -> None:
    place = Related(Location(path, 1), "here", role)
    report = run("x = 1  # nnlint: ignore[NNL001]\ny = 2\n", finding(2, related=(place,)))
    assert bool(report.suppressed) is expected


def test_the_reason_is_kept() -> None:
    report = run("x = 1  # nnlint: ignore[NNL001] -- as in the paper -- p. 3\n", finding(1))
    evidence = report.suppressed[0].evidence
    assert evidence["suppression"] == {"line": 1, "reason": "as in the paper -- p. 3"}


def test_an_unused_rule_is_named_at_its_place() -> None:
    report = run("x = 1  # nnlint: ignore[NNL001, NNL002]\n", finding(1))
    (unused,) = report.findings
    assert unused.code == "NNL005"
    assert unused.message == "rule-crashed is suppressed here but finds nothing on line 1"
    assert unused.location == Location("m.py", 1, 33, 1, 39)
    assert unused.severity is Severity.WARNING


@pytest.mark.parametrize(
    "values",
    [
        {"ran": RAN - {CODE}},
        {"ran": RAN - {"NNL005"}},
        {"models": ()},
        {"models": (MODEL, dataclasses.replace(MODEL, name="B", analysed=False, reason="?"))},
        {"checks": (Check(NAME, CODE, "Net", Outcome.NOT_CHECKED, "?"),)},
    ],
)
def test_a_rule_that_had_no_say_is_not_unused(values: dict[str, Any]) -> None:
    assert not run("x = 1  # nnlint: ignore[NNL001]\n", **values).findings


def test_another_files_model_does_not_matter() -> None:
    other = ModelReport("Other", "other.py", 1, analysed=False, reason="?")
    assert run("x = 1  # nnlint: ignore[NNL001]\n", models=(MODEL, other)).findings


@pytest.mark.parametrize(
    ("comment", "message", "text"),
    [
        ("ignore", "`ignore` names no rule", "Write `# nnlint: ignore[rule-name]"),
        ("ignore[]", "`ignore` names no rule", ""),
        ("file-ignore", "`file-ignore` names no rule", ""),
        ("igonre[NNL001]", "`nnlint: igonre` means nothing", "Did you mean `nnlint: ignore"),
        ("fileignore[NNL001]", "means nothing", "Did you mean `nnlint: file-ignore"),
        ("disable=NNL001", "`nnlint: disable` means nothing", "Write `# nnlint: ignore["),
        ("ignore[import-faild]", "unknown rule 'import-faild'", "Did you mean 'import-failed'?"),
        ("ignore[NNL0]", "unknown rule 'NNL0'", ""),
        ("ignore[NNL001] because", "'because' follows the brackets", "A reason starts with `--`"),
        ("ignore[NNL001", "`ignore` names no rule", ""),
        ("", "asks nnlint for nothing", ""),
    ],
)
def test_a_malformed_comment_is_reported(comment: str, message: str, text: str) -> None:
    report = run(f"x = 1  # nnlint: {comment}\n", finding(1))
    (bad,) = [each for each in report.findings if each.code == "NNL006"]
    assert message in bad.message
    assert bad.help.startswith(text)
    assert not [each for each in report.findings if each.code == "NNL005"]


def test_comments_about_comments_are_honoured() -> None:
    text = "# nnlint: file-ignore[unused-suppression, NNL006]\nx = 1  # nnlint: ignore[NNL001, X]\n"
    report = run(text)
    assert not report.findings
    assert lines(report.suppressed) == [(2, "NNL005"), (2, "NNL006")]


def test_findings_stay_sorted() -> None:
    report = run("x = 1  # nnlint: ignore\ny = 2\n", finding(1), finding(2))
    assert lines(report.findings) == [(1, CODE), (1, "NNL006"), (2, CODE)]


def test_a_broken_file_is_read_up_to_its_error() -> None:
    report = run("x = 1  # nnlint: ignore[NNL001]\ny = (\n  'open\n", finding(1))
    assert lines(report.suppressed) == [(1, CODE)]


PIECES = st.sampled_from(
    (
        *("# nnlint: ", "ignore", "file-ignore", "[", "]", "NNL001", ",", " -- why", "\n", "    "),
        *("\t", "x = 1", "f(", ")", "'''", '"', "\\", "@d\n", "class N:", "\f", "\r", "\0"),
        *("é", "全", "\u2028"),
    )
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join)), st.integers(1, 9))
@example("# nnlint: ignore[" + "\0" + "]", 1)
@example("\ufeff# nnlint: ignore[NNL001]\nx", 2)
def test_no_text_is_too_strange(text: str, line: int) -> None:
    for comment in read_comments(text):
        assert 1 <= comment.lines[0] <= comment.lines[1]
        assert 1 <= comment.column < comment.end_column
    once = run(text, finding(line))
    assert [each.code for each in (*once.findings, *once.suppressed)].count(CODE) == 1
    assert apply(once, {"m.py": text}, RAN) == once


@pytest.mark.parametrize("checks", [(), (Check("import-failed", CODE, "Net", Outcome.PASSED),)])
def test_a_lint_does_not_call_the_suppression_of_a_probe_rule_unused(
    checks: tuple[Check, ...],
) -> None:
    text = "x = 1  # nnlint: ignore[non-finite]\ny = 2  # nnlint: ignore[NNL801]\n"
    assert run(text, checks=checks, ran=RAN | {"NNL801"}).findings == ()


def test_a_probe_does() -> None:
    checks = (Check("non-finite", "NNL801", "Net", Outcome.PASSED),)
    report = run("x = 1  # nnlint: ignore[non-finite]\n", checks=checks, ran=RAN | {"NNL801"})
    assert lines(report.findings) == [(1, "NNL005")]
