from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nnlint.cli.entry import command_names
from nnlint.linter.config_table import json_schema
from nnlint.linter.findings import Report
from nnlint.linter.rules.base import all_rules

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
HEAVY = ("torch", "grpc", "numpy")


def python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in {"NO_COLOR", "FORCE_COLOR", "NNLINT_DEBUG"}
    }
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env=environment | {"PYTHONIOENCODING": "utf-8"},
        **options,
    )


GOLDEN_RUNS = {
    "findings": ["model.py"],
    "findings-github": ["check", "model.py", "--output-format", "github"],
    "quiet-warnings": ["model.py", "--quiet", "--show", "error"],
    "no-path": ["check"],
    "missing-path": ["modle.py"],
    "misspelt-command": ["chekc", "model.py"],
    "unknown-option": ["model.py", "--selct", "ALL"],
    "unknown-rule": ["model.py", "--select", "unused-supression"],
    "unknown-format": ["model.py", "--output-format", "sarf"],
    "bad-input": ["model.py", "--input", "2xbatch"],
    "bad-loss": ["model.py", "--loss", "cross_entrpy"],
    "bad-choice": ["model.py", "--fail-on", "fatal"],
    "bad-memory": ["model.py", "--memory-limit", "much"],
    "rule": ["rule", "NNL006"],
    "config": ["config", "--isolated"],
}


@pytest.mark.parametrize("name", GOLDEN_RUNS)
def test_the_command_line_matches_its_golden_file(
    name: str, run: Any, report: Report, golden: Any
) -> None:
    run.outcome = report
    code, out, err = run(*GOLDEN_RUNS[name])
    text = f"$ nnlint {' '.join(GOLDEN_RUNS[name])}\nexit code: {code}\n"
    golden(HERE / "golden" / f"cli-{name}.txt", f"{text}--- stdout\n{out}--- stderr\n{err}")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], 1),
        (["--fail-on", "error"], 1),
        (["--fail-on", "never"], 0),
        (["--exit-zero"], 0),
        (["--show", "error"], 1),
    ],
)
def test_the_exit_code_follows_fail_on(
    options: list[str], expected: int, run: Any, report: Report
) -> None:
    run.outcome = report
    assert run("model.py", *options)[0] == expected


def test_a_note_fails_only_on_request(run: Any, report: Report) -> None:
    run.outcome = Report(findings=report.findings[1:2])
    assert run("model.py")[0] == 0
    assert run("model.py", "--fail-on", "note")[0] == 1


def test_a_clean_run_exits_with_zero(run: Any) -> None:
    assert run("model.py") == (0, "no findings, no models found\n", "")


def test_the_default_command_is_check(run: Any) -> None:
    run("check", "model.py")
    run("model.py")
    run("--select", "ALL", "model.py")
    run("model.py:Net")
    assert [call["paths"] for call in run.calls] == [["model.py"]] * 3 + [["model.py:Net"]]


def test_a_path_that_is_a_command_name_is_the_command(run: Any, tmp_path: Path) -> None:
    (tmp_path / "version").write_text("")
    assert run("version")[1].startswith("nnlint ")
    run("./version")
    run("check", "version")
    assert [call["paths"] for call in run.calls] == [["./version"], ["version"]]


def test_options_become_settings(run: Any) -> None:
    run(
        *("model.py", "--arg", "3", "--arg", "name=resnet", "--arg", "wide", "--arg", "k=[1, 2]"),
        *("--input", "2x3x8x8", "--input", "ids=2x128:torch.long", "--loss", "nn.NLLLoss"),
        *("--timeout", "5", "--memory-limit", "2GB"),
    )
    settings = run.calls[0]["settings"]
    model = settings.default_model
    assert model.args == (3, "wide")
    assert model.kwargs == {"name": "resnet", "k": [1, 2]}
    assert [(spec.shape, spec.dtype, spec.name) for spec in model.inputs] == [
        ((2, 3, 8, 8), "float32", ""),
        ((2, 128), "int64", "ids"),
    ]
    assert model.loss == "torch.nn.NLLLoss"
    assert (settings.timeout, settings.memory_bytes) == (5.0, 2 * 1024**3)


def test_the_command_line_wins_over_the_file(run: Any, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.nnlint]\nselect = ["NNL001"]\nignore = ["NNL005"]\nfail-on = "never"\ntimeout = 7\n'
    )
    run("model.py")
    run("model.py", "--ignore", "NNL006", "--timeout", "9")
    run("model.py", "--select", "NNL005,NNL006")
    settings = [call["settings"] for call in run.calls]
    assert [item.select for item in settings] == [("NNL001",), ("NNL001",), ("NNL005", "NNL006")]
    assert [item.ignore for item in settings] == [("NNL005",), ("NNL005", "NNL006"), ()]
    assert [item.timeout for item in settings] == [7, 9, 7]
    run("model.py", "--isolated")
    assert run.calls[-1]["settings"].select == ()


def test_several_formats_are_written_in_one_run(run: Any, report: Report, tmp_path: Path) -> None:
    run.outcome = report
    code, out, _ = run(
        *("model.py", "--output-format", "text", "--output-format", "json:report.json"),
        *("--output-format", "sarif:report.sarif", "--color", "always"),
    )
    assert code == 1
    assert "\x1b[" in out
    assert len(json.loads((tmp_path / "report.json").read_text())["findings"]) == 4
    assert json.loads((tmp_path / "report.sarif").read_text())["version"] == "2.1.0"


def test_an_unwritable_file_is_a_usage_error(run: Any) -> None:
    code, _, err = run("model.py", "--output-format", "json:missing/report.json")
    assert code == 2
    assert err.startswith("nnlint: error: cannot write missing/report.json: No such file")


def test_color_follows_the_environment(
    run: Any, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.outcome = report
    assert "\x1b[" not in run("model.py")[1]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run("model.py")[1]
    assert "\x1b[" not in run("model.py", "--color", "never")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("model.py")[1]
    assert "\x1b[" in run("model.py", "--color", "always")[1]


def test_standard_input_is_read(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        class buffer:  # noqa: N801 - an attribute of sys.stdin
            read = staticmethod("\ufeffx = 'ü'".encode)

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert run("-", "--stdin-filename", "a.py")[0] == 0
    assert run.calls[0]["stdin_text"] == "x = 'ü'"
    assert run.calls[0]["stdin_filename"] == "a.py"
    assert run("model.py", "--stdin-filename", "a.py")[0] == 2


def test_an_internal_error_is_one_message(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run.outcome = RuntimeError("the sky\x1b fell")
    code, out, err = run("model.py")
    assert (code, out) == (2, "")
    assert err.startswith("nnlint: error: internal error: RuntimeError: the sky\\x1b fell\nhint: ")
    assert len(err.splitlines()) == 2
    monkeypatch.setenv("NNLINT_DEBUG", "1")
    assert "Traceback (most recent call last)" in run("model.py")[2]


def test_an_interrupt_is_quiet(run: Any) -> None:
    run.outcome = KeyboardInterrupt()
    assert run("model.py") == (130, "", "")


def test_a_reader_that_leaves_is_no_error() -> None:
    code = (
        "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1);"
        "from nnlint.cli import main; sys.exit(main(['rule', '--all']))"
    )
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_rules_are_listed_as_json(run: Any) -> None:
    code, out, _ = run("rule", "--all", "--output-format", "json")
    rules = json.loads(out)
    assert code == 0
    assert [rule["code"] for rule in rules] == [rule.code for rule in all_rules()]
    keys = {"name", "code", "severity", "category", "since", "default", "summary", "sections"}
    assert all(keys <= set(rule) for rule in rules)
    assert json.loads(run("rule", "unused-suppression", "--output-format", "json")[1]) == next(
        rule for rule in rules if rule["code"] == "NNL005"
    )


def test_config_says_where_a_value_comes_from(run: Any, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.nnlint]\ntimeout = 7\n")
    out = run("config")[1]
    assert f"# file: {tmp_path / 'pyproject.toml'}" in out
    lines = {line.split(" = ")[0]: line for line in out.splitlines()[1:]}
    assert lines["timeout"].startswith("timeout = 7.0")
    assert lines["timeout"].endswith("# pyproject.toml")
    assert lines["show"].endswith("# default")
    assert json.loads(run("config", "--schema")[1]) == json_schema()


def test_the_configuration_schema_in_the_documentation_is_current(golden: Any) -> None:
    golden(DOCS / "schema" / "config.json", json.dumps(json_schema(), indent=2) + "\n")


def test_every_command_is_listed_in_the_help() -> None:
    done = python("-m", "nnlint", "--help")
    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in command_names())


@pytest.mark.parametrize("argument", ["--version", "version"])
def test_the_versions_are_printed(argument: str) -> None:
    done = python("-m", "nnlint", argument)
    assert done.returncode == 0
    assert done.stdout.startswith("nnlint 0.")
    assert "torch 2." in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["check", "--help"], ["rule", "NNL006"], ["config"], ["model.py", "--selct", "x"]],
)
def test_nothing_heavy_is_imported_and_the_answer_is_quick(arguments: list[str]) -> None:
    code = (
        f"import sys; from nnlint.cli import main; main({arguments!r});"
        f"print('heavy:', *(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    )
    done = python("-c", code)
    assert done.stderr.splitlines()[-1] == "heavy:"
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        python("-m", "nnlint", *arguments)
        seconds.append(time.perf_counter() - started)
    # 0.2 s on an idle machine; test machines are busy.
    assert min(seconds) < 1.0


def test_importing_the_command_line_imports_little() -> None:
    code = (
        "import sys, nnlint.cli;"
        "print(*{'torch', 'grpc', 'pydantic', 'rich', 'numpy'} & set(sys.modules))"
    )
    assert python("-c", code).stdout == "\n"
