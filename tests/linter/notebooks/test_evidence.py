"""What a notebook says of the models of other files."""

from __future__ import annotations

from nnlint.linter.notebook import located
from tests.linter.notebooks.books import Lint, notebook

NET = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        return torch.softmax(self.fc(x), 1)
"""
TRAINING = """\
%%time
net = Net(5)
criterion = nn.CrossEntropyLoss()
for x, y in batches:
    criterion(net(x), y).backward()
"""


def test_a_file_is_built_and_trained_as_a_notebook_does(lint: Lint) -> None:
    book = notebook("!ls\nfrom torch import nn\nfrom lib.net import Net", TRAINING)
    report = lint({"lib/net.py": NET, "book.ipynb": book, "broken.ipynb": "import {"}, "lib/net.py")
    (finding,) = report
    assert finding.rule == "softmax-before-cross-entropy"
    assert finding.location.path == "lib/net.py"
    loss = next(each.location for each in finding.related if each.role == "loss")
    cell, inner = located(loss, report.sources)
    assert (loss.path, cell, inner.line) == ("book.ipynb", 2, 5)
    (model,) = report.models
    assert not model.assumed


def test_a_notebook_takes_its_models_from_files_beside_it(lint: Lint) -> None:
    book = notebook("from torch import nn\nfrom lib.net import Net\nnet = Net(5)", TRAINING)
    report = lint({"book.ipynb": book, "lib/net.py": NET})
    assert [model.analysed for model in report.models] == [True]
    assert [finding.rule for finding in report] == ["softmax-before-cross-entropy"]
