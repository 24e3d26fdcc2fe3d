from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = """from torch import nn


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.fc = nn.Linear(width, 3)  # nnlint: ignore[NNL001] -- nothing to see
        self.norm = nn.BatchNorm1d(3)  # nnlint: ignore

    def forward(self, x):
        return self.norm(self.fc(x))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "net.py").write_text(MODEL)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "net.py").write_text(MODEL)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.nnlint]\nselect = ["NNL0"]\nexclude = ["old"]\n'
        '[tool.nnlint.per-file-ignores]\n"quiet/*" = ["NNL006"]\n'
    )
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return tmp_path


def nnlint(project: Path, *arguments: str, text: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "nnlint", *arguments],
        cwd=project,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_folder_is_linted_with_its_configuration(project: Path) -> None:
    code, out, err = nnlint(project, ".", "--output-format", "json")
    assert (code, err) == (1, "")
    report = json.loads(out)
    assert [(each["path"], each["line"], each["code"]) for each in report["findings"]] == [
        ("src/net.py", 7, "NNL005"),
        ("src/net.py", 8, "NNL006"),
    ]
    assert [(each["name"], each["status"]) for each in report["models"]] == [("Net", "analysed")]


def test_standard_input_is_linted_under_its_name(project: Path) -> None:
    code, out, err = nnlint(project, "-", "--stdin-filename", "quiet/net.py", text=MODEL)
    assert (code, err) == (1, "")
    assert out.startswith(
        "quiet/net.py:7:57: warning: import-failed is suppressed here but finds nothing on line 7 "
        "[unused-suppression]\n"
        "    self.fc = nn.Linear(width, 3)  # nnlint: ignore[NNL001] -- nothing to see\n"
    )
    assert out.count("warning:") == 1


def test_a_model_that_cannot_be_built_is_said_once(project: Path) -> None:
    (project / "plain.py").write_text(MODEL.replace("  # nnlint: ignore", "  # "))
    code, out, _ = nnlint(project, "plain.py:Net", "--arg", "width=None")
    assert code == 1
    assert "[import-failed]" in out
    assert out.splitlines()[-1].startswith("1 error in 1 model, not analysed")
    assert "not analysed:" not in out


def test_a_notebook_comes_in_as_json(project: Path) -> None:
    cells = [{"cell_type": "code", "source": text} for text in ("%matplotlib inline", MODEL)]
    book = json.dumps({"cells": cells, "nbformat": 4})
    code, out, err = nnlint(project, "-", "--stdin-filename", "quiet/book.ipynb", text=book)
    assert (code, err) == (1, "")
    assert out.startswith(
        "quiet/book.ipynb:cell 2:7:57: warning: import-failed is suppressed here but finds nothing "
        "on line 7 [unused-suppression]\n"
        "    self.fc = nn.Linear(width, 3)  # nnlint: ignore[NNL001] -- nothing to see\n"
    )
    assert out.count("warning:") == 1
