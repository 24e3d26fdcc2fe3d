"""A class that is built in several ways, of which only some end in an activation."""

from __future__ import annotations

import pytest

HEAD = """\
import torch.nn as nn
import torch.nn.functional as F


"""
FLAG = """\
class Net(nn.Module):
    def __init__(self, width=8, probabilities=True, bias=True):
        super().__init__()
        self.fc = nn.Linear(width, 3, bias=bias)
        self.probabilities = probabilities

    def forward(self, x):
        x = self.fc(x)
        if self.probabilities:
            x = F.softmax(x, dim=1)
        return x
"""
NAMED = """\
class Net(nn.Module):
    def __init__(self, width=8, head="softmax", last=nn.Identity):
        super().__init__()
        self.fc = nn.Linear(width, 3)
        self.last = nn.Softmax(1) if head == "softmax" else last()

    def forward(self, x):
        return self.last(self.fc(x))
"""


def certain(across, net, *calls):
    script = "import torch.nn as nn\nfrom net import Net\n" + "".join(
        f"nn.CrossEntropyLoss()({call}(x), y)\n" for call in calls
    )
    uses = across("net.py", {"net.py": HEAD + net, "main.py": script})["Net"].uses
    return [use.certain for use in uses]


@pytest.mark.parametrize(
    ("net", "call", "expected"),
    [
        (FLAG, "Net()", True),
        (FLAG, "Net(probabilities=True)", True),
        (FLAG, "Net(16, bias=False)", True),
        (FLAG, "Net(probabilities=flags.probabilities)", True),
        (FLAG, "Net(probabilities=False)", False),
        (FLAG, "Net(8, False)", False),
        (NAMED, "Net(head='none')", False),
        (NAMED, "Net(last=nn.Sigmoid)", False),
        (NAMED, "Net(last=nn.Dropout)", True),
        (NAMED, "Net(head='softmax', width=3)", True),
    ],
)
def test_a_use_of_a_model_that_is_built_otherwise_is_uncertain(across, net, call, expected):
    assert certain(across, net, call) == [expected]


def test_without_defaults_the_first_construction_is_what_is_linted(across):
    net = FLAG.replace("width=8, probabilities=True", "width, probabilities")
    assert certain(across, net, "Net(8, False)", "Net(8, True)") == [True, False]
