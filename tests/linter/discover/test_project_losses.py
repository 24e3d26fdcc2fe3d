"""A model's loss in another file of the project."""

from __future__ import annotations

import json

import pytest

NET = """\
import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        return self.fc(x)
"""
LOOP = """\
import torch
import torch.nn as nn
from torch.nn import functional as F
{imports}

def train(model, criterion, loader, optimizer):
    model.train()
    for x, y in loader:
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()


def evaluate(model, criterion, loader):
    model.eval()
    with torch.no_grad():
        for x, y in loader:
            print(criterion(model(x), y))


def main():
    {model}
    criterion = nn.CrossEntropyLoss()
    for epoch in range(3):
        train(model, criterion, loader(), optimizer())
        evaluate(model, criterion, loader())


if __name__ == "__main__":
    main()
"""


def loop(imports, model="model = Net().cuda()"):
    return LOOP.format(imports=imports, model=model)


def losses(target):
    """Return what the model's output meets: the loss, the file, training, certain."""
    return [
        (use.sink.rpartition(".")[2], use.location.path.rpartition("/")[2], use.training)
        for use in target.uses
        if use.certain
    ]


IN_MAIN = [("CrossEntropyLoss", "main.py", True), ("CrossEntropyLoss", "main.py", False)]


@pytest.mark.parametrize(
    ("files", "imports", "model"),
    [
        ({"net.py": NET}, "from net import Net", "model = Net()"),
        ({"net.py": NET}, "from net import Net as Model", "model = Model(width=4)"),
        ({"net.py": NET}, "from net import *", "model = nn.DataParallel(Net()).cuda()"),
        ({"net.py": NET}, "import net", "model = net.Net()"),
        ({"net.py": NET}, "import net as models", "model = models.__dict__[args.arch]()"),
        ({"net.py": NET}, "import net as models", "model = getattr(models, args.arch)(8)"),
        ({"net.py": NET}, "import net", 'model = getattr(net, "Net")()'),
        ({"net.py": NET}, "import net", "model = vars(net)[name]()"),
        ({"net.py": NET}, "from net import *", "model = globals()[name]()"),
        (
            {"net.py": NET + "\n\ndef build(**options):\n    return Net(**options)\n"},
            "from net import build",
            "model = build(width=3)",
        ),
        (
            {"net.py": NET + "\n\nMODELS = {'net': Net, 'other': None}\n"},
            "from net import MODELS",
            "model = MODELS[args.name]()",
        ),
        (
            {"models/net.py": NET, "models/__init__.py": "from .net import Net\n"},
            "import models",
            "model = models.Net()",
        ),
        (
            {"models/net.py": NET, "models/__init__.py": "from .net import *\n"},
            "from models import *",
            "model = Net()",
        ),
        ({"models/net.py": NET}, "import models.net", "model = models.net.Net()"),
        ({"models/net.py": NET}, "from models import net", "model = net.Net()"),
        ({"src/models/net.py": NET}, "from models.net import Net", "model = Net()"),
        (
            {"models/net.py": NET, "models/__init__.py": ""},
            "from importlib import import_module",
            'model = import_module("models." + args.name).Net()',
        ),
        (
            {"models/net.py": NET, "models/__init__.py": ""},
            "import importlib",
            'model = importlib.import_module(f"models.{args.name}").Net()',
        ),
        (
            {
                "models/net.py": NET,
                "models/__init__.py": """\
                    from models.net import Net

                    def make(name):
                        if name == "net":
                            return Net()
                        raise ValueError(name)
                    """,
            },
            "from models import make",
            "model = make(args.name)",
        ),
    ],
)
def test_a_training_script_finds_the_model(across, files, imports, model):
    path = next(iter(files))
    target = across(path, {**files, "main.py": loop(imports, model)})["Net"]
    assert losses(target) == IN_MAIN


def test_the_location_is_in_the_file_of_the_loss(across, tmp_path):
    script = loop("from net import Net", "model = Net()")
    use = across("net.py", {"net.py": NET, "main.py": script})["Net"].uses[0]
    assert use.location.path == str(tmp_path / "main.py")
    assert script.splitlines()[use.location.line - 1].strip() == "loss = criterion(model(x), y)"
    assert use.through is not None
    assert use.through.path == str(tmp_path / "main.py")


def test_the_loop_may_be_in_a_third_file(across):
    engine = loop("").partition("def main")[0]
    script = """\
        import torch.nn as nn
        from engine import train, evaluate
        from net import Net

        net = Net()
        train(net, nn.NLLLoss(), loader, optimizer)
        evaluate(net, nn.NLLLoss(), loader)
        """
    target = across("net.py", {"net.py": NET, "engine.py": engine, "main.py": script})["Net"]
    assert losses(target) == [("NLLLoss", "engine.py", True), ("NLLLoss", "engine.py", False)]


TRAINER = """\
import torch.nn as nn


class Trainer:
    def __init__(self, model, criterion=None, config=None):
        self.model = model
        self.criterion = criterion or nn.CrossEntropyLoss()

    def step(self, batch):
        x, y = batch
        return self.criterion(self.model(x), y)

    def fit(self, loader):
        for batch in loader:
            self.step(batch).backward()
"""


@pytest.mark.parametrize(
    ("call", "loss"),
    [
        ("Trainer(Net()).fit(loader)", "CrossEntropyLoss"),
        ("trainer = Trainer(Net(), nn.BCELoss())\ntrainer.fit(loader)", "BCELoss"),
        ("Trainer(model=Net(), criterion=F.nll_loss)", "nll_loss"),
        ("Trainer(Net(), getattr(nn, 'MSELoss')())", "MSELoss"),
        ("Trainer(Net(), partial(F.cross_entropy, ignore_index=0))", "cross_entropy"),
        ("Trainer(Net(), {'ce': nn.CrossEntropyLoss(), 'l1': nn.L1Loss()}['l1'])", "L1Loss"),
    ],
)
def test_a_trainer_class_in_a_third_file(across, call, loss):
    script = (
        "from functools import partial\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
        f"from trainer import Trainer\nfrom net import Net\n{call}\n"
    )
    target = across("net.py", {"net.py": NET, "trainer.py": TRAINER, "main.py": script})["Net"]
    assert losses(target) == [(loss, "trainer.py", True)]


def test_a_trainer_whose_base_is_in_another_file(across):
    files = {
        "net.py": NET,
        "base/trainer.py": TRAINER.replace("class Trainer", "class Base"),
        "main.py": """\
            import torch.nn as nn
            from base.trainer import Base
            from net import Net

            class Trainer(Base):
                def __init__(self, config):
                    super().__init__(Net(), nn.NLLLoss())

            Trainer(config).fit(loader)
            """,
    }
    assert losses(across("net.py", files)["Net"]) == [("NLLLoss", "trainer.py", True)]


def test_a_lightning_module_around_the_model(across):
    files = {
        "net.py": NET,
        "lit.py": """\
            import lightning.pytorch as pl
            import torch.nn.functional as F
            from net import Net

            class Lit(pl.LightningModule):
                def __init__(self, net=None):
                    super().__init__()
                    self.net = Net() if net is None else net

                def forward(self, x):
                    return self.net(x)

                def training_step(self, batch, index):
                    x, y = batch
                    return F.cross_entropy(self.net(x), y)

                def validation_step(self, batch, index):
                    x, y = batch
                    self.log("loss", F.cross_entropy(self.net(x), y))
            """,
    }
    assert losses(across("net.py", files)["Net"]) == [
        ("cross_entropy", "lit.py", True),
        ("cross_entropy", "lit.py", False),
    ]


def test_a_model_that_a_lightning_module_is_given(across):
    files = {
        "net.py": NET,
        "lit.py": """\
            import pytorch_lightning as pl

            class Lit(pl.LightningModule):
                def __init__(self, net, loss):
                    super().__init__()
                    self.net = net
                    self.loss = loss

                def training_step(self, batch, index):
                    return self.loss(self.net(batch[0]), batch[1])
            """,
        "main.py": """\
            import torch.nn as nn
            from lit import Lit
            from net import Net
            Trainer().fit(Lit(Net(), nn.BCEWithLogitsLoss()))
            """,
    }
    assert losses(across("net.py", files)["Net"]) == [("BCEWithLogitsLoss", "lit.py", True)]


def test_each_model_of_a_game_has_its_own_losses(across):
    nets = NET.replace("class Net", "class Maker") + NET[NET.index("\n\nclass Net") :].replace(
        "class Net", "class Judge"
    )
    script = """\
        import torch.nn as nn
        from nets import Judge, Maker

        maker, judge = Maker(), Judge()
        adversarial = nn.BCELoss()
        pixels = nn.L1Loss()
        for real in loader:
            fake = maker(noise)
            loss = adversarial(judge(fake), ones) + pixels(fake, real)
            loss.backward()
            (adversarial(judge(real), ones) + adversarial(judge(fake.detach()), zeros)).backward()
        """
    found = across("nets.py", {"nets.py": nets, "main.py": script})
    assert {sink for sink, _, _ in losses(found["Maker"])} == {"L1Loss"}
    assert {sink for sink, _, _ in losses(found["Judge"])} == {"BCELoss"}


def test_scripts_with_different_losses_each_stand_by_themselves(across):
    script = loop("from net import Net", "model = Net()")
    files = {
        "net.py": NET,
        "main.py": script,
        "pixels.py": script.replace("CrossEntropyLoss", "MSELoss"),
    }
    assert {sink for sink, _, _ in losses(across("net.py", files)["Net"])} == {
        "CrossEntropyLoss",
        "MSELoss",
    }


def test_a_loss_chosen_at_run_time_is_uncertain(across):
    script = """\
        import torch.nn as nn
        from net import Net
        model = Net()
        criterion = nn.CrossEntropyLoss() if classes > 1 else nn.BCEWithLogitsLoss()
        loss = criterion(model(x), y)
        loss.backward()
        """
    uses = across("net.py", {"net.py": NET, "main.py": script})["Net"].uses
    assert {use.sink.rpartition(".")[2] for use in uses} == {
        "CrossEntropyLoss",
        "BCEWithLogitsLoss",
    }
    assert not any(use.certain for use in uses)


def test_a_criterion_that_another_model_meets_says_nothing(across):
    other = NET.replace("class Net", "class Other")
    script = loop("from net import Net\nfrom other import Other", "model = Other()")
    files = {"net.py": NET, "other.py": other, "main.py": script}
    assert losses(across("net.py", files)["Net"]) == []
    assert losses(across("other.py", files)["Other"]) == IN_MAIN


def test_every_model_that_the_user_may_choose_meets_the_loss(across):
    zoo = {
        f"zoo/net{at}.py": NET.replace("class Net", f"class Net{at}")
        + f"\n\ndef net{at}(**options):\n    return Net{at}(**options)\n"
        for at in range(12)
    }
    zoo["zoo/__init__.py"] = "".join(f"from .net{at} import *\n" for at in range(12))
    script = loop("import zoo as models", "model = models.__dict__[args.arch](width=4)")
    for at in (0, 7, 11):
        found = across(f"zoo/net{at}.py", {**zoo, "main.py": script})
        assert losses(found[f"Net{at}"]) == IN_MAIN


def test_models_put_into_an_installed_package(across):
    script = """\
        import torchvision.models as models
        import torch.nn as nn
        import zoo
        for name in zoo.__dict__:
            if name.islower() and callable(zoo.__dict__[name]):
                models.__dict__[name] = zoo.__dict__[name]
        model = models.__dict__[args.arch](width=3)
        nn.CrossEntropyLoss()(model(x), y).backward()
        """
    zoo = NET + "\n\ndef small(width=2):\n    return Net(width)\n"
    found = across("zoo.py", {"zoo.py": zoo, "main.py": script})
    assert [losses(target) for target in found.values()] == [
        [("CrossEntropyLoss", "main.py", True)]
    ]


def test_a_script_that_todays_python_cannot_run_is_evidence_too(across):
    script = """\
        import torch.nn as nn
        from net import Net
        net = Net()
        criterion = nn.CrossEntropyLoss()
        for x, y in loader:
            x = x.cuda(async=True)
            print "batch", x
            try:
                loss = criterion(net(x), y)
            except RuntimeError, error:
                print >>log, error
        """
    found = across("net.py", {"net.py": NET, "main.py": script})
    assert losses(found["Net"]) == [("CrossEntropyLoss", "main.py", True)]


@pytest.mark.parametrize(
    "files",
    [
        {"main.py": "from net import Net\nraise SystemExit(Net())\ndef f(:\n"},
        {"main.py": "from net import *\nimport main\nfrom main import Net\nNet()(x)\n"},
        {"main.py": "from net import Net\n", "net/__init__.py": "from .. import net\n"},
        {"a.py": "from b import *\nfrom net import Net\n", "b.py": "from a import *\nNet()(x)\n"},
        {"a.py": "import b\nx = b.x\n", "b.py": "import a\nfrom net import Net\nx = a.x\n"},
        {"main.py": "from . import *\nfrom .. import net\nfrom ... import x\nimport net.net.Net\n"},
        {"main.py": "class A(A, net.Net): pass\nimport net\nA()(x)\n"},
        {"main.py": "\0from net import Net\n"},
    ],
)
def test_odd_files_around_a_model_do_no_harm(across, files):
    assert across("net.py", {"net.py": NET, **files})["Net"].uses == ()


def test_a_notebook_that_trains_the_model(across):
    cells = [
        ["%matplotlib inline\n", "import torch.nn as nn\n", "from net import Net\n"],
        ["# Training\n", "model = Net()"],
        ["criterion = nn.CrossEntropyLoss()\n", "criterion(model(x), y).backward()\n"],
    ]
    kinds = ["code", "markdown", "code"]
    cells[0].append("model = Net()\n")
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {"cell_type": kind, "metadata": {}, "source": lines}
            | ({"outputs": [], "execution_count": None} if kind == "code" else {})
            for kind, lines in zip(kinds, cells, strict=True)
        ],
    }
    text = json.dumps(notebook, indent=1)
    found = across("net.py", {"net.py": NET, "lessons/train.ipynb": text})
    assert losses(found["Net"]) == [("CrossEntropyLoss", "train.ipynb", True)]
