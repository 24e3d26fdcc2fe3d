from __future__ import annotations

from pathlib import Path

import pytest

from nnlint.errors import UsageError
from nnlint.linter.findings import Severity
from nnlint.linter.rules.base import Category, Rule
from nnlint.linter.selection import (
    find_rule,
    ignored_in,
    path_matches,
    resolve,
    resolve_for_lint,
    rules_for,
    split_selectors,
)
from nnlint.linter.settings import LintSettings

DOC = "\n".join(
    f"## {heading}\ntext\n"
    for heading in (
        "What it does",
        "Why is this bad?",
        "Example",
        "Use instead",
        "How it is decided",
        "Known limits",
        "References",
    )
)


def make(
    name: str, code: str, *, category: Category = Category.LOSS, on: bool = True
) -> type[Rule]:
    values = {
        "__doc__": f"A rule.\n\n{DOC}",
        "name": name,
        "code": code,
        "severity": Severity.WARNING,
        "category": category,
        "default": on,
        "check": lambda *_: iter(()),
    }
    return type(name, (Rule,), values)


RULES = (
    make("file-broken", "NNL901", category=Category.TOOL),
    make("first-loss", "NNL911"),
    make("second-loss", "NNL912"),
    make("quiet-loss", "NNL913", on=False),
    make("some-norm", "NNL921", category=Category.NORMALISATION),
)


@pytest.mark.parametrize(
    ("select", "ignore", "expected"),
    [
        ("", "", "901 911 912 921"),
        ("ALL", "", "901 911 912 913 921"),
        ("", "ALL", ""),
        ("NNL91", "", "901 911 912 913"),
        ("first-loss", "", "901 911"),
        ("nnl911", "", "901 911"),
        ("quiet-loss", "", "901 913"),
        ("NNL91", "NNL912", "901 911 913"),
        ("NNL912", "NNL91", "901 912"),
        ("NNL912", "second-loss", "901"),
        ("NNL91", "NNL9", "911 912 913"),
        ("NNL9", "NNL91", "901 921"),
        ("NNL91", "NNL91", "901"),
        ("", "file-broken", "911 912 921"),
        ("", "NNL91", "901 921"),
        ("first-loss", "ALL", "911"),
    ],
)
def test_the_most_specific_selector_decides(select: str, ignore: str, expected: str) -> None:
    chosen = resolve(split_selectors([select]), split_selectors([ignore]), RULES)
    assert " ".join(rule.code.removeprefix("NNL") for rule in chosen) == expected


def test_selectors_are_split_at_commas() -> None:
    assert split_selectors(["a, b", "c", "", "a"]) == ("a", "b", "c")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("frist-loss", "did you mean 'first-loss'?"),
        ("First_Loss", "did you mean 'first-loss'?"),
        ("norm", "did you mean 'some-norm'?"),
        ("NNL991", "did you mean 'NNL9"),
        ("zzz", "`nnlint rule --all` lists them"),
    ],
)
def test_an_unknown_rule_gets_a_suggestion(key: str, hint: str) -> None:
    with pytest.raises(UsageError, match="unknown rule") as caught:
        resolve([key], [], RULES)
    assert caught.value.hint.startswith(hint)
    with pytest.raises(UsageError):
        find_rule(key, RULES)


def test_a_rule_is_found_by_name_and_code() -> None:
    assert find_rule("nnl912", RULES) is find_rule("second-loss", RULES) is RULES[2]


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("tests", "tests/deep/m.py", True),
        ("tests/", "tests/deep/m.py", True),
        ("tests", "src/tests/m.py", True),
        ("./tests/*", "tests/m.py", True),
        ("tests/*", "src/tests/m.py", False),
        ("tests/*.py", "tests/deep/m.py", False),
        ("tests/**/*.py", "tests/deep/er/m.py", True),
        ("tests/**/*.py", "tests/m.py", True),
        ("**/m.py", "m.py", True),
        ("*.py", "tests/deep/m.py", True),
        ("m?.py", "m1.py", True),
        ("m[1].py", "m1.py", False),
        ("m[1].py", "m[1].py", True),
        ("a\\*.py", "a/m.py", True),
        ("**", "a/m.py", True),
    ],
)
def test_globs_match_as_in_gitignore(
    pattern: str, path: str, expected: bool, tmp_path: Path
) -> None:
    assert path_matches(pattern, str(tmp_path / path), str(tmp_path)) is expected


def test_a_relative_path_is_seen_from_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path / "src")
    assert path_matches("src/*.py", "m.py", str(tmp_path))
    assert not path_matches("src/*.py", "m.py")


def test_rules_are_ignored_per_file(tmp_path: Path) -> None:
    ignores = {"old/*": ("NNL91",), "*.py": ("some-norm",), "other": ("ALL",)}
    settings = LintSettings(per_file_ignores=ignores, root=str(tmp_path))
    path = str(tmp_path / "old" / "m.py")
    assert ignored_in(path, ignores, str(tmp_path)) == ("NNL91", "some-norm")
    assert [rule.code for rule in rules_for(path, RULES, settings)] == ["NNL901"]


@pytest.mark.parametrize("selected", ["NNL801", "no-gradient", "NNL8"])
def test_a_lint_of_rules_about_probes_alone_is_refused_with_the_command_for_them(
    selected: str,
) -> None:
    with pytest.raises(UsageError, match=f"only a probe can check {selected}") as caught:
        resolve_for_lint([selected])
    assert "nnlint probe" in (caught.value.hint or "")
    assert resolve([selected])


def test_rules_about_probes_may_be_selected_beside_others() -> None:
    assert resolve_for_lint(["ALL"]) == resolve(["ALL"])
    assert resolve_for_lint(["NNL801", "NNL101"]) == resolve(["NNL801", "NNL101"])
    assert resolve_for_lint() == resolve()
