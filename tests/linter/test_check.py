"""From paths to a report: which files and models are linted, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nnlint.errors import UsageError
from nnlint.linter.check import lint_paths
from nnlint.linter.load.pool import Pool
from nnlint.linter.rules.base import all_rules
from nnlint.linter.settings import LintSettings

NET = """import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x)
"""
BROKEN = NET.replace("nn.Linear(4, 2)", "nn.Linear()")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool() as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lint(folder, pool):
    def run(*paths: str, files: dict[str, str | bytes] | None = None, **settings: Any):
        for name, content in (files or {}).items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        rules = all_rules()
        return lint_paths(paths, LintSettings(**settings), rules=rules, pool=pool)

    return run


def codes(report):
    return [finding.code for finding in report.findings if finding.code < "NNL1"]


def test_a_missing_file(lint):
    for path in ("gone.py", "gone", "gone.py:Net"):
        with pytest.raises(UsageError, match="no such file"):
            lint(path)


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ({"a.txt": "x"}, "a.txt", "a.txt is neither a Python file nor a notebook"),
        ({"sub/a.txt": "x"}, "sub", "no Python files and no notebooks below sub"),
        ({"sub/a.py": "x = 1"}, "sub", "no PyTorch models below sub"),
        ({"sub/a.py": "import torch"}, "sub", "no PyTorch models below sub"),
        ({"a.py": ""}, "a.py", "no model found in a.py"),
        ({"a.py": "import torch\nx = 1\n"}, "a.py", "no model found in a.py"),
        ({"sub/a.py": NET}, "sub:Net", "sub is a folder"),
    ],
)
def test_paths_without_models_are_refused(lint, files, path, message):
    with pytest.raises(UsageError, match=message):
        lint(path, files=files)


def test_a_pipe_is_refused(lint, folder):
    os.mkfifo(folder / "net.py")
    with pytest.raises(UsageError, match="not a regular file"):
        lint("net.py")


def test_a_pipe_beside_a_file_is_not_read(lint, folder):
    os.mkfifo(folder / "waits.py")
    report = lint("net.py", files={"net.py": NET})
    assert [model.analysed for model in report.models] == [True]


@pytest.mark.parametrize(
    ("content", "line", "column", "message"),
    [
        ("import torch\nx = = 2\n", 2, 5, "the file does not parse: invalid syntax"),
        ("import torch\nprint 'x'\n", 2, 1, "the file is written for Python 2"),
        ("import torch\ntry:\n  pass\nexcept A, e:\n  pass\n", 4, 8, "written for Python 2"),
        ("import torch\nraise ValueError, 'x'\n", 2, 17, "written for Python 2"),
        ("x = 1\nif x:\n", 2, 6, "expected an indented block"),
        ("x = (\n", 1, 5, "'(' was never closed"),
        (b"import torch\x00", 1, 1, "null bytes"),
        (b"\x7fELF\x00\x01\xff", 1, 1, "null bytes"),
        (b"import torch\nx = '\xff'\n", 2, 1, "not encoded as utf-8"),
        (b"# coding: nonsense\nimport torch\n", 1, 1, "unknown encoding"),
        ("x = " + "(" * 300 + ")" * 300, 1, 205, "too many nested parentheses"),
        ("x = " + "-" * 100_000 + "1", 1, 1, "the file does not parse"),
    ],
)
def test_a_file_that_does_not_parse(lint, content, line, column, message):
    report = lint("net.py", files={"net.py": content})
    (finding,) = report.findings
    assert finding.code == "NNL001"
    assert message in finding.message
    assert (finding.location.line, finding.location.column) == (line, column)


def test_encodings_are_honoured(lint):
    latin = NET.replace("\n", "  # gr\xf6\xdfe\n", 1)
    files = {
        "a.py": b"# coding: latin-1\n" + latin.encode("latin-1"),
        "b.py": b"\xef\xbb\xbf" + NET.encode(),
        "c.py": NET.replace("\n", "\r\n"),
        "d.py": NET.replace("\n", "\n\x0c\n"),
    }
    report = lint(".", files=files)
    assert codes(report) == []
    assert [model.path for model in report.models] == ["a.py", "b.py", "c.py", "d.py"]


def test_a_form_feed_shifts_no_line(lint):
    report = lint("net.py", files={"net.py": "x = 1\n\x0c\n" + BROKEN})
    assert [finding.location.line for finding in report.findings] == [9]


def test_a_folder_is_walked_without_what_is_not_the_user_s(lint):
    inside = ["net.py", "sub/deep/net.py", "tests/net.py"]
    outside = [
        ".hidden/net.py",
        "__pycache__/net.py",
        "build/net.py",
        "env/lib/net.py",
        "node_modules/net.py",
        "sub/site-packages/net.py",
        ".net.py",
    ]
    report = lint(".", files={**dict.fromkeys([*inside, *outside], NET), "env/pyvenv.cfg": ""})
    assert [model.path for model in report.models] == inside


def test_a_file_is_linted_once(lint):
    report = lint("net.py", ".", "./net.py", "net.py:Net", files={"net.py": NET})
    assert [(model.path, model.name) for model in report.models] == [("net.py", "Net")]


def test_one_model_of_a_file(lint):
    files = {"net.py": NET + NET.replace("Net", "Other")}
    assert [model.name for model in lint("net.py:Other", files=files).models] == ["Other"]
    both = lint("net.py:Other", "net.py:Net")
    assert {model.name for model in both.models} == {"Other", "Net"}


def test_a_building_block_can_be_named(lint):
    text = NET.replace("nn.Linear(4, 2)", "Block()") + NET.split("nn\n", 1)[1].replace(
        "Net", "Block"
    )
    files = {"net.py": text}
    assert [model.name for model in lint("net.py", files=files).models] == ["Net"]
    assert [model.name for model in lint("net.py:Block").models] == ["Block"]


def test_an_unknown_model_gives_a_suggestion(lint):
    with pytest.raises(UsageError, match="defines no Nett") as caught:
        lint("net.py:Nett", files={"net.py": NET})
    assert caught.value.hint == "did you mean 'Net'?"
    with pytest.raises(UsageError) as caught:
        lint("net.py:Zzz")
    assert caught.value.hint == "it defines Net"


def test_a_file_without_models_beside_one_with(lint):
    report = lint("a.py", "net.py", files={"a.py": "import torch\n", "net.py": NET})
    assert len(report.models) == 1


def test_a_file_that_vanishes_after_listing(lint, folder, monkeypatch):
    from nnlint.linter import check

    original = check.read_text

    def read(path):
        if path == "b.py":
            (folder / path).unlink(missing_ok=True)
        return original(path)

    monkeypatch.setattr(check, "read_text", read)
    report = lint(".", files={"a.py": NET, "b.py": NET})
    assert [model.path for model in report.models] == ["a.py"]


def test_findings_of_several_files_are_sorted(lint):
    files = {"a.py": BROKEN.replace("self.fc =", "\n        self.fc ="), "b.py": BROKEN}
    report = lint("b.py", "a.py", files=files)
    assert [(f.location.path, f.location.line) for f in report.findings if f.code == "NNL001"] == [
        ("a.py", 8),
        ("b.py", 7),
    ]
    assert set(report.sources) == {"a.py", "b.py"}


def test_a_finding_that_models_share_is_one(lint):
    text = BROKEN + "\ndef small():\n    return Net()\n\ndef large():\n    return Net()\n"
    report = lint("net.py:small", "net.py:large", files={"net.py": text})
    (finding,) = report.findings
    assert finding.evidence["models"] == ["small", "large"]
    assert [model.analysed for model in report.models] == [False, False]


def test_rules_that_are_off_say_nothing(folder, pool):
    (folder / "net.py").write_text(BROKEN)
    rules = [rule for rule in all_rules() if rule.code != "NNL001"]
    assert lint_paths(["net.py"], LintSettings(), rules=rules, pool=pool).findings == ()
    ignored = LintSettings(per_file_ignores={"net.py": ("import-failed",)})
    assert lint_paths(["net.py"], ignored, rules=all_rules(), pool=pool).findings == ()


def test_a_defect_of_discovery_ends_no_run(lint, monkeypatch):
    monkeypatch.setattr("nnlint.linter.check.discover", lambda _: 1 / 0)
    report = lint("net.py", files={"net.py": NET})
    assert [finding.code for finding in report.findings] == ["NNL002"]


def test_progress_is_told(folder, pool):
    (folder / "net.py").write_text(NET)
    told = []
    lint_paths(["net.py"], LintSettings(), rules=[], pool=pool, progress=told.append)
    assert told == ["linting net.py"]


def test_many_files_at_once(lint):
    files = {f"net{i:02}.py": NET if i % 3 else BROKEN for i in range(12)}
    report = lint(".", files=files)
    assert [model.path for model in report.models] == sorted(files)
    assert [model.analysed for model in report.models] == [bool(i % 3) for i in range(12)]


def test_a_process_for_each_file_where_there_is_no_fork(folder):
    head = "class Net(nn.Module):\n"
    assert head in NET
    for name, statement in {
        "net.py": "print('x' * 10**6)",
        "bad.py": "import ctypes; ctypes.string_at(0)",
        "slow.py": "while True: pass",
    }.items():
        (folder / name).write_text(NET.replace(head, f"{head}    {statement}\n"))
    with Pool(fork=False) as pool:
        report = lint_paths(["."], LintSettings(timeout=3), rules=all_rules(), pool=pool)
    found = {(f.location.path, f.location.line): f.code for f in report.findings}
    assert found == {("bad.py", 5): "NNL001", ("slow.py", 4): "NNL004"}
    assert [model.analysed for model in report.models] == [False, True, False]


def test_a_broken_torch_is_a_usage_error(folder, monkeypatch):
    (folder / "net.py").write_text(NET)
    (folder / "path").mkdir()
    (folder / "path" / "torch.py").write_text("raise ImportError('libtorch is missing')")
    monkeypatch.setenv("PYTHONPATH", str(folder / "path"))
    for fork in (True, False):
        with Pool(fork=fork) as pool, pytest.raises(UsageError, match="libtorch is missing"):
            lint_paths(["net.py"], LintSettings(), rules=[], pool=pool)


def test_the_parent_imports_no_torch(folder):
    (folder / "net.py").write_text(NET)
    code = (
        "import sys; from nnlint.linter.check import lint_paths;"
        "from nnlint.linter.settings import LintSettings;"
        "from nnlint.linter.rules.base import all_rules;"
        "print(len(lint_paths(['net.py'], LintSettings(), rules=all_rules()).models));"
        "print([name for name in ('torch', 'numpy', 'pydantic') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["1", "[]"]
