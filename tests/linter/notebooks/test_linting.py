"""Notebooks from their file to the findings."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnlint.errors import UsageError
from nnlint.linter.findings import Finding, Report
from nnlint.linter.notebook import located
from nnlint.linter.settings import ModelSettings
from tests.linter.notebooks.books import Lint, notebook

IMPORTS = "%matplotlib inline\n!pip install torch\nimport torch\nfrom torch import nn\n"
NET = """\
class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.fc = nn.Linear(width, 3)
        self.spare = nn.Linear(width, 3)

    def forward(self, x):
        return torch.softmax(self.fc(x), 1)
"""
TRAINING = """\
%%time
net = Net()
criterion = nn.CrossEntropyLoss()
for x, y in batches:
    loss = criterion(net(x), y)
    loss.backward()
open("trained", "w").write("yes")
"""
BOOK = notebook(IMPORTS, NET, TRAINING)


def places(report: Report) -> dict[str, tuple[int | None, int]]:
    def place(finding: Finding) -> tuple[int | None, int]:
        cell, inner = located(finding.location, report.sources)
        return cell, inner.line

    return {finding.rule: place(finding) for finding in report}


def test_a_loss_in_a_later_cell_is_found_and_nothing_is_trained(lint: Lint, tmp_path: Path) -> None:
    report = lint({"book.ipynb": BOOK})
    assert places(report) == {"unused-layer": (2, 5), "softmax-before-cross-entropy": (2, 8)}
    softmax = next(each for each in report if each.rule == "softmax-before-cross-entropy")
    loss = next(each for each in softmax.related if each.role == "loss")
    cell, inner = located(loss.location, report.sources)
    assert (cell, inner.line) == (3, 5)
    assert not (tmp_path / "trained").exists()


def test_a_folder_is_searched_for_notebooks_too(lint: Lint) -> None:
    files = {
        "sub/book.ipynb": BOOK,
        "sub/.ipynb_checkpoints/book-checkpoint.ipynb": BOOK,
        "sub/empty.ipynb": "",
        "sub/words.ipynb": notebook("x = 1"),
    }
    report = lint(files, "sub")
    assert {model.path for model in report.models} == {"sub/book.ipynb"}
    assert not [finding for finding in report if finding.code < "NNL1"]


def test_a_notebook_comes_from_standard_input(lint: Lint) -> None:
    report = lint({}, stdin=BOOK)
    assert {finding.location.path for finding in report} == {"in.ipynb"}
    assert places(report)["unused-layer"] == (2, 5)


def test_one_model_of_a_notebook_is_chosen_by_name(lint: Lint) -> None:
    other = NET.replace("Net", "Other")
    report = lint({"book.ipynb": notebook(IMPORTS, NET, other)}, "book.ipynb:Other")
    assert [model.name for model in report.models] == ["Other"]
    with pytest.raises(UsageError, match=r"book.ipynb defines no Missing"):
        lint({"book.ipynb": BOOK}, "book.ipynb:Missing")


def test_of_a_class_that_is_defined_again_the_last_counts(lint: Lint) -> None:
    better = NET.replace("        self.spare = nn.Linear(width, 3)\n", "")
    report = lint({"book.ipynb": notebook(IMPORTS, NET, better, TRAINING)})
    assert places(report) == {"softmax-before-cross-entropy": (3, 7)}


def test_comments_suppress_within_their_cell(lint: Lint) -> None:
    quiet = NET.replace("(width, 3)\n\n", "(width, 3)  # nnlint: ignore[unused-layer] -- later\n\n")
    useless = "a = 1\nb = 2  # nnlint: ignore[dropout-rate]"
    report = lint({"book.ipynb": notebook(IMPORTS, quiet, useless)})
    assert places(report) == {"unused-suppression": (3, 2)}
    (unused,) = report
    assert unused.message.endswith("on line 2")
    (hidden,) = report.suppressed
    assert hidden.evidence["suppression"] == {"line": 5, "reason": "later", "cell": 2}


def test_settings_find_a_notebook_by_its_path(lint: Lint) -> None:
    given = {"book.ipynb:Net": ModelSettings(kwargs={"width": 5})}
    report = lint(
        {"book.ipynb": BOOK},
        models=given,
        per_file_ignores={"*.ipynb": ("softmax-before-cross-entropy",)},
    )
    (unused,) = report
    assert unused.rule == "unused-layer"
    assert unused.evidence["parameters"] == 18


def test_a_cell_that_fails_to_parse_is_passed_over(lint: Lint) -> None:
    report = lint({"book.ipynb": notebook(IMPORTS, "print 'hello'", NET)})
    assert places(report) == {"unused-layer": (3, 5)}


@pytest.mark.parametrize(
    ("content", "message", "where"),
    [
        (notebook("import torch", "class Net(:\n    pass"), "does not parse", (2, 1)),
        ("{torch", "a notebook must be JSON", (None, 1)),
        ("[]", "a notebook must have a list of cells", (None, 1)),
    ],
)
def test_what_cannot_be_read_is_a_finding(
    lint: Lint, content: str, message: str, where: tuple[int | None, int]
) -> None:
    report = lint({"book.ipynb": content})
    (finding,) = report
    assert finding.code == "NNL001"
    assert message in finding.message
    assert places(report) == {"import-failed": where}


def test_an_error_in_a_constructor_is_at_its_cell(lint: Lint) -> None:
    broken = NET.replace("self.spare = nn.Linear(width, 3)", "self.spare = undefined")
    report = lint({"book.ipynb": notebook(IMPORTS, broken)})
    assert places(report) == {"import-failed": (2, 5)}


def test_a_cell_that_is_left_out_is_told_by_its_number(lint: Lint) -> None:
    report = lint(
        {
            "book.ipynb": notebook(
                IMPORTS, "size = 1\nnet = nn.Sequential(nn.Linear(8, int(input())))"
            )
        }
    )
    (model,) = report.models
    assert "line 2 of cell 2 of book.ipynb is left out: it asks the user" in model.reason
