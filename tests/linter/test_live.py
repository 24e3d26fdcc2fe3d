"""`nnlint.lint` on a live module, as in a notebook."""

from __future__ import annotations

import linecache
import os

import pytest
import torch
from torch import nn

import nnlint


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3), nn.Softmax(dim=1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Good(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


@pytest.mark.parametrize(
    "loss",
    [
        "cross_entropy",
        "torch.nn.CrossEntropyLoss",
        nn.CrossEntropyLoss(),
        nn.functional.cross_entropy,
    ],
)
def test_the_loss_may_be_a_name_a_module_or_a_function(loss: object) -> None:
    report = nnlint.lint(Head(), loss=loss)
    assert not report
    assert "softmax-before-cross-entropy" in {f.rule for f in report}


def test_a_finding_stands_at_the_line_that_builds_the_layer() -> None:
    finding = next(f for f in nnlint.lint(Head(), loss="cross_entropy") if f.code == "NNL101")
    line = linecache.getline(__file__, finding.location.line)
    assert (
        line[finding.location.column - 1 : finding.location.end_column - 1] == "nn.Softmax(dim=1)"
    )
    assert finding.modules == ("body.4",)


def test_a_clean_report_is_truthy_and_prints_its_counts() -> None:
    report = nnlint.lint(Good(), loss="cross_entropy")
    assert report
    assert len(report) == 0
    assert "no findings" in str(report)


def test_a_report_prints_as_a_table() -> None:
    text = str(nnlint.lint(Head(), loss="cross_entropy"))
    assert text.splitlines()[0].split() == ["severity", "rule", "where", "message"]
    assert "softmax-before-cross-entropy" in text


def test_the_model_and_the_random_state_stay_as_they_are() -> None:
    model = Head().eval()
    model.body[1].train()
    modes = [m.training for m in model.modules()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    nnlint.lint(model, inputs=torch.zeros(2, 8), loss="cross_entropy")
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert set(vars(model)) == set(vars(Head()))


@pytest.mark.parametrize(
    "inputs", [torch.zeros(2, 7), (2, 7), [(2, 7)], [torch.zeros(2, 7)], {"x": (2, 7)}]
)
def test_inputs_in_every_form_are_used(inputs: object) -> None:
    report = nnlint.lint(Good(), inputs=inputs)
    assert [f.code for f in report] == ["NNL507"]


def test_a_module_without_a_file_is_linted_too() -> None:
    report = nnlint.lint(nn.Sequential(nn.Linear(4, 2), nn.Softmax(dim=1)), loss="cross_entropy")
    assert [f.code for f in report] == ["NNL101"]


def test_wrong_arguments_are_usage_errors() -> None:
    with pytest.raises(nnlint.UsageError, match="not int"):
        nnlint.lint(3)  # type: ignore[arg-type] # the mistake under test
    with pytest.raises(nnlint.UsageError, match="no loss that nnlint knows"):
        nnlint.lint(Good(), loss="cross_entropi")
    with pytest.raises(nnlint.UsageError, match="an input is a tensor or a shape"):
        nnlint.lint(Good(), inputs="2x8")
    with pytest.raises(nnlint.UsageError):
        nnlint.lint(Good(), select=["no-such-rule"])


def test_a_file_is_linted_in_a_process_of_its_own(tmp_path) -> None:
    path = tmp_path / "model.py"
    path.write_text(
        "import os\nimport torch.nn.functional as F\nfrom torch import nn\n\nos.environ['NNLINT_TEST_MARK'] = '1'\n\n\n"
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(8, 3)\n\n"
        "    def forward(self, x):\n        return F.softmax(self.fc(x), dim=1)  # nnlint: ignore[NNL101] -- as it is\n"
    )
    report = nnlint.lint_file(path, loss="cross_entropy")
    assert report
    assert [f.code for f in report.suppressed] == ["NNL101"]
    assert "NNLINT_TEST_MARK" not in os.environ
    with pytest.raises(nnlint.UsageError):
        nnlint.lint_file(tmp_path / "missing.py")


def test_rules_about_probes_are_no_checks_of_a_lint(tmp_path) -> None:
    path = tmp_path / "model.py"
    path.write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.fc = nn.Linear(8, 3)  # nnlint: ignore[no-gradient] -- settled\n\n"
        "    def forward(self, x):\n        return self.fc(x)\n"
    )
    for report in (nnlint.lint(Good(), select=["ALL"]), nnlint.lint_file(path, select=["ALL"])):
        assert report.checks
        assert not [check for check in report.checks if check.code.startswith("NNL8")]
        assert "NNL005" not in {finding.code for finding in report.findings}
