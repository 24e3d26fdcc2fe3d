"""A target becomes a module, or a note that says what is missing."""

from __future__ import annotations

import pytest

from nnlint.linter.settings import ModelSettings

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, size=4, *, classes=2):
        super().__init__()
        self.fc = nn.Linear(size, classes)

    def forward(self, x):
        return self.fc(x)
"""
NEEDY = NET.replace("size=4", "size").replace("classes=2", "classes")


def only(report):
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


def test_arguments_that_nobody_gives_are_assumed_and_said(lint):
    report = lint(NEEDY)
    assert report.findings == ()
    (model,) = report.models
    assert model.analysed
    assert model.class_name == "Net"
    assert set(model.assumed) == {"Net(size)", "Net(classes)"}


def test_arguments_for_which_nothing_fits_are_named_with_the_way_to_give_them(lint):
    check = 'super().__init__(); raise ValueError("no such classes")'
    report = lint(NEEDY.replace("super().__init__()", check, 1))
    note = only(report)
    assert (note.code, note.severity, note.location.line) == ("NNL004", "note", 5)
    assert note.message.startswith(
        "Net was not analysed: its constructor needs the arguments size, classes, and with size="
    )
    assert note.message.endswith("it raises ValueError: no such classes")
    assert "`--arg size=VALUE --arg classes=VALUE`" in note.help
    assert '[tool.nnlint.models."net.py:Net"] kwargs = { size = ..., classes = ... }' in note.help
    (model,) = report.models
    assert (model.reason, model.obstacle) == (note.message, "arguments")
    assert [place.location.line for place in note.related] == [7]


def test_arguments_from_the_configuration(lint):
    models = {"net.py:Net": ModelSettings(args=(3,), kwargs={"classes": 5})}
    assert lint(NEEDY, models=models).findings == ()


def test_the_configuration_is_relative_to_its_root(lint, tmp_path):
    models = {"sub/net.py:Net": ModelSettings(args=(3,), kwargs={"classes": 5})}
    assert lint({"sub/net.py": NEEDY}, models=models, root=str(tmp_path)).findings == ()


def test_the_command_line_comes_first(lint):
    text = NEEDY.replace(
        "super().__init__()", "super().__init__(); assert (size, classes) == (7, 5)"
    )
    models = {"net.py:Net": ModelSettings(args=(3,), kwargs={"classes": 5})}
    report = lint(text, models=models, default_model=ModelSettings(args=(7,)))
    assert report.findings == ()


def test_arguments_that_do_not_fit(lint):
    note = only(lint(NET, default_model=ModelSettings(args=(1, 2, 3))))
    assert note.code == "NNL004"
    assert "the given arguments do not fit: too many positional arguments" in note.message


def test_arguments_that_a_base_of_another_file_asks_for(lint):
    text = "from base import Base\nimport torch\nclass Net(Base):\n    pass\n"
    report = lint({"net.py": text, "base.py": NEEDY.replace("Net", "Base")}, "net.py:Net")
    assert set(report.models[0].assumed) == {"Net(size)", "Net(classes)"}


@pytest.mark.parametrize(
    ("value", "analysed"),
    [
        ("Net()", True),
        ("nn.DataParallel(Net())", True),
        ("torch.compile(Net())", True),
        ("(Net(), 'tokenizer')", True),
        ("{'model': Net(), 'size': 3}", True),
        ("(Net(), Net())", False),
        ("None", False),
        ("Net", False),
        ("[]", False),
    ],
)
def test_what_a_factory_may_give(lint, value, analysed):
    report = lint(f"{NET}\ndef make():\n    return {value}\n", "net.py:make")
    assert [model.analysed for model in report.models] == [analysed]
    if not analysed:
        assert only(report).code == "NNL004"
        assert "make gives" in only(report).message


def test_an_instance(lint):
    report = lint(f"{NET}\nmodel = Net(size=3)\n", "net.py:model")
    assert [(model.name, model.analysed) for model in report.models] == [("model", True)]


def test_a_name_that_only_a_statement_which_is_not_run_would_bind(lint):
    report = lint(f"{NET}\nmodel = torch.load('weights.pt')\n", "net.py:model")
    assert "model was not analysed" in only(report).message
    assert report.models[0].obstacle


def test_models_are_built_alike_each_time(lint):
    check = "if torch.rand(1).item() != 0.49625658988952637: raise ValueError"
    text = NET.replace("super().__init__()", f"super().__init__()\n        {check}")
    other = text.split("nn\n", 1)[1].replace("Net", "Other")
    assert lint(text + other).findings == ()


def test_models_are_in_training_mode(lint):
    text = f"{NET}\nmodel = Net().eval()\n".replace(
        "return self.fc(x)", "assert self.training; return self.fc(x)"
    )
    assert lint(text, "net.py:model").findings == ()
