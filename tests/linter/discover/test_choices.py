"""Branches that objects decide, and branches that the live model decides."""

from __future__ import annotations

import textwrap

import pytest


def uses(target):
    return [
        (use.sink.rpartition(".")[2], use.conditions, use.certain)
        for use in target.uses
        if use.training
    ]


@pytest.mark.parametrize(
    "choice",
    [
        "criterion = nn.CrossEntropyLoss() if model.classes > 2 else nn.BCELoss()",
        "criterion = nn.BCELoss() if not (model.classes > 2) else nn.CrossEntropyLoss()",
        "criterion = nn.BCELoss()\n        if model.classes > 2: criterion = nn.CrossEntropyLoss()",
        """if model.classes > 2:
            criterion = nn.CrossEntropyLoss()
        else:
            criterion = nn.BCELoss()""",
    ],
)
def test_a_loss_that_the_model_decides_on(net, choice):
    lines = textwrap.dedent(f"        {choice}")
    found = uses(net(f"model = Net()\n{lines}\ncriterion(model(x), y).backward()\n"))
    told = [(sink, condition.replace("(", "").replace(")", "")) for sink, (condition,), _ in found]
    assert sorted(told) == [
        ("BCELoss", "not model.classes > 2"),
        ("CrossEntropyLoss", "model.classes > 2"),
    ]
    assert all(certain for _, _, certain in found)


def test_a_branch_of_the_loop_that_the_model_decides_on(net):
    found = uses(
        net("""\
            model = Net()
            if model.classes == 1:
                loss = F.binary_cross_entropy_with_logits(model(x), y)
            elif model.classes == 2 and model.soft:
                loss = F.mse_loss(model(x), y)
            else:
                loss = F.cross_entropy(model(x), y)
            """)
    )
    first, second = "model.classes == 1", "model.classes == 2 and model.soft"
    assert found == [
        ("binary_cross_entropy_with_logits", (first,), True),
        ("mse_loss", (f"not ({first})", second), True),
        ("cross_entropy", (f"not ({first})", f"not ({second})"), True),
    ]


def test_what_follows_a_branch_that_leaves(net):
    found = uses(
        net("""\
            def loss(model: Net, x, y):
                if model.binary:
                    return F.binary_cross_entropy(model(x), y)
                return F.cross_entropy(model(x), y)
            """)
    )
    assert found == [
        ("binary_cross_entropy", ("model.binary",), True),
        ("cross_entropy", ("not (model.binary)",), True),
    ]


def test_a_model_that_asks_itself(found):
    text = """\
        import torch.nn as nn
        import torch.nn.functional as F

        class Net(nn.Module):
            def __init__(self, classes=3):
                super().__init__()
                self.classes = classes
                self.fc = nn.Linear(3, classes)

            def forward(self, x):
                return self.fc(x)

            def fit(self, x, y):
                criterion = F.binary_cross_entropy if self.classes == 2 else F.cross_entropy
                criterion(self(x), y).backward()
        """
    assert sorted(uses(found(text)["Net"])) == [
        ("binary_cross_entropy", ("model.classes == 2",), True),
        ("cross_entropy", ("not (model.classes == 2)",), True),
    ]


def test_a_trainer_that_asks_its_model_through_a_wrapper(net):
    found = uses(
        net("""\
            class Trainer:
                def __init__(self, model):
                    self.model = nn.DataParallel(model)
                    self.sizes = (1, 2)

                def step(self, x, y):
                    if self.model.module.classes in (1, 2):
                        return F.binary_cross_entropy(self.model(x), y)
                    return F.cross_entropy(self.model(x), y)

            Trainer(Net())
            """)
    )
    assert [conditions for _, conditions, _ in found] == [
        ("model.classes in (1, 2)",),
        ("not (model.classes in (1, 2))",),
    ]


@pytest.mark.parametrize(
    "test",
    [
        "args.classes > 2",
        "model.classes > args.classes",
        "model.count() > 2",
        "other.classes > 2",
        "judge.classes > 2",
        "2 > 1",
        "len(model.sizes) > 2",
        "model.classes > judge.classes",
    ],
)
def test_other_tests_leave_the_loss_open(net, test):
    found = uses(
        net(f"""\
            model, judge = Net(), nn.Linear(3, 3)
            criterion = nn.CrossEntropyLoss() if {test} else nn.BCELoss()
            criterion(model(x), y).backward()
            """)
    )
    assert sorted(found) == [("BCELoss", (), False), ("CrossEntropyLoss", (), False)]


def test_another_model_decides_nothing(net):
    found = uses(
        net("""\
            class Judge(nn.Module):
                def forward(self, x):
                    return x

            model, judge = Net(), Judge()
            criterion = nn.CrossEntropyLoss() if judge.classes > 2 else nn.BCELoss()
            criterion(model(x), y).backward()
            """)
    )
    assert sorted(found) == [("BCELoss", (), False), ("CrossEntropyLoss", (), False)]


@pytest.mark.parametrize(
    "body",
    [
        "criterion = criterion or nn.CrossEntropyLoss()",
        "criterion = nn.CrossEntropyLoss() if criterion is None else criterion",
        "criterion = criterion if criterion is not None else nn.CrossEntropyLoss()",
        "if criterion is None:\n        criterion = nn.CrossEntropyLoss()",
        "if not criterion:\n        criterion = nn.CrossEntropyLoss()",
        "if criterion != None:\n        pass\n    else:\n        criterion = nn.CrossEntropyLoss()",
    ],
)
@pytest.mark.parametrize(
    ("given", "loss"), [("", "CrossEntropyLoss"), (", nn.NLLLoss()", "NLLLoss")]
)
def test_a_loss_that_may_be_given(net, body, given, loss):
    text = (
        f"def train(model, criterion=None):\n    {body}\n    criterion(model(x), y).backward()\n"
        f"train(Net(){given})\n"
    )
    assert uses(net(text)) == [(loss, (), True)]


def test_a_flag_may_be_set_otherwise_tomorrow(net):
    found = uses(
        net("""\
            BINARY = False
            model = Net()
            if BINARY:
                criterion = nn.BCELoss()
            else:
                criterion = nn.CrossEntropyLoss()
            criterion(model(x), y)
            """)
    )
    assert sorted(found) == [("BCELoss", (), False), ("CrossEntropyLoss", (), False)]
