from __future__ import annotations

import textwrap

import pytest

CE = "torch.nn.CrossEntropyLoss"
F_CE = "torch.nn.functional.cross_entropy"

LIGHTNING = """
import torch
import torch.nn as nn
import torch.nn.functional as F
import lightning as L

class Inner(nn.Module):
    def forward(self, x):
        return x

class Lit(L.LightningModule):
    def __init__(self, width, loss=None):
        super().__init__()
        self.net = Inner()
        self.criterion = nn.CrossEntropyLoss()
"""


def sinks(target):
    return [use.sink for use in target.uses]


@pytest.mark.parametrize(
    "text",
    [
        """
        class Trainer:
            def __init__(self, model, criterion):
                self.model = model
                self.criterion = criterion
            def fit(self):
                return self.criterion(self.model(x), y)
        Trainer(Net(), nn.CrossEntropyLoss()).fit()
        """,
        """
        class Trainer:
            def __init__(self):
                self.model = Net()
                self.criterion = nn.CrossEntropyLoss()
            def fit(self):
                return self._step(batch)
            def _step(self, batch):
                return self.criterion(self.model(batch[0]), batch[1])
        """,
        """
        class Base:
            def fit(self):
                return self.loss(self.model(x))
        class Trainer(Base):
            loss_fn = nn.CrossEntropyLoss()
            def __init__(self, model):
                super().__init__()
                self.model = model.cuda()
            @property
            def head(self):
                return self.loss_fn
            def loss(self, out):
                return self.head(out, y)
        Trainer(Net()).fit()
        """,
        """
        class Trainer:
            @staticmethod
            def loss(out, y):
                return nn.CrossEntropyLoss()(out, y)
            @classmethod
            def build(cls):
                return cls(Net())
            def __init__(self, model):
                self.model = model
            def __call__(self):
                out = self.model(x)
                return self.loss(out, y)
        trainer = Trainer.build()
        trainer()
        """,
        """
        @dataclass
        class State:
            model: nn.Module
            loss: nn.Module = None
        state = State(Net(), loss=nn.CrossEntropyLoss())
        state.loss(state.model(x), y)
        """,
        """
        class Step:
            def forward(self):
                self.out = self.model(x)
            def backward(self):
                self.value = self.criterion(self.out, y)
            def run(self):
                self.model = Net()
                self.criterion = nn.CrossEntropyLoss()
                self.forward()
                self.backward()
        Step().run()
        """,
        """
        class Smooth(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.CrossEntropyLoss()
            def forward(self, out, target):
                return self.inner(out, target)
        Smooth()(Net()(x), y)
        """,
        """
        class Mine(nn.CrossEntropyLoss):
            def forward(self, input, target):
                return super().forward(input, target)
        Mine()(Net()(x), y)
        """,
        """
        class Mine(nn.CrossEntropyLoss):
            pass
        Mine()(Net()(x), y)
        """,
    ],
)
def test_outputs_are_followed_through_the_methods_of_classes(net, text):
    assert sinks(net(textwrap.dedent(text))) == [CE]


def test_a_trainer_with_an_unknown_model_gives_nothing(net):
    text = (
        "class Trainer:\n    def __init__(self, model):\n        self.model = model\n"
        "    def fit(self):\n        return F.cross_entropy(self.model(x), y)\n"
    )
    assert net(text).uses == ()


def test_a_method_of_the_model_itself_is_followed(found):
    text = """
        import torch.nn as nn
        import torch.nn.functional as F
        class Net(nn.Module):
            def forward(self, x):
                return x
            def predict(self, x):
                return F.softmax(self(x), dim=1)
            def loss(self, x, y):
                return F.cross_entropy(self.predict(x), y)
    """
    (use,) = found(text)["Net"].uses
    assert [step.name for step in use.steps] == ["torch.nn.functional.softmax"]


def test_losses_inside_forward_are_left_to_the_graph(found):
    text = """
        import torch.nn as nn
        import torch.nn.functional as F
        class Head(nn.Module):
            def forward(self, x):
                return x
        class Net(nn.Module):
            def __init__(self):
                self.head = Head()
            def forward(self, x, y):
                return F.cross_entropy(self.head(x), y)
    """
    targets = found(text)
    assert list(targets) == ["Net"]
    assert targets["Net"].uses == ()


@pytest.mark.parametrize(
    "step",
    [
        (
            "    def training_step(self, batch, i):\n        x, y = batch\n"
            "        return self.criterion(self(x), y)\n"
        ),
        (
            "    def training_step(self, batch, i):\n        x, y = batch\n"
            "        return self.criterion(self.forward(x), y)\n"
        ),
        (
            "    def training_step(self, batch, i):\n        return self._step(batch)\n"
            "    def _step(self, batch):\n        return self.criterion(self(batch[0]), batch[1])\n"
        ),
    ],
)
def test_a_lightning_step_is_followed(found, step):
    text = LIGHTNING + "    def forward(self, x):\n        return self.net(x)\n" + step
    targets = found(text)
    assert list(targets) == ["Lit"]
    assert targets["Lit"].lightning
    assert sinks(targets["Lit"]) == [CE]


def test_a_part_that_a_lightning_step_calls_is_a_target(found):
    step = (
        "    def training_step(self, batch, i):\n        x, y = batch\n"
        "        return self.criterion(self.net(x), y)\n"
    )
    targets = found(LIGHTNING + step)
    assert list(targets) == ["Inner", "Lit"]
    assert sinks(targets["Inner"]) == [CE]


def test_a_part_given_to_a_lightning_module_is_followed(found):
    text = LIGHTNING.replace("self.net = Inner()", "self.net = width") + (
        "    def training_step(self, batch, i):\n        x, y = batch\n"
        "        return self.criterion(self.net(x), y)\n"
        "if __name__ == '__main__':\n    L.Trainer().fit(Lit(Inner()))\n"
    )
    assert sinks(found(text)["Inner"]) == [CE]


@pytest.mark.parametrize("name", ["validation_step", "test_step", "predict_step"])
def test_a_lightning_evaluation_step_is_no_training(found, name):
    step = f"    def {name}(self, batch, i):\n        return F.cross_entropy(self(batch), y)\n"
    (use,) = found(LIGHTNING + "    def forward(self, x):\n        return x\n" + step)["Lit"].uses
    assert not use.training


@pytest.mark.parametrize(
    "text",
    [
        "model = Net()\nwith torch.no_grad():\n    F.cross_entropy(model(x), y)",
        "model = Net()\nwith torch.inference_mode(), context():\n    F.cross_entropy(model(x), y)",
        "model = Net()\nwith torch.set_grad_enabled(False):\n    F.cross_entropy(model(x), y)",
        "model = Net()\nwith torch.no_grad():\n    out = model(x)\nF.cross_entropy(out, y)",
        "@torch.no_grad()\ndef test(model):\n    F.cross_entropy(model(x), y)\ntest(Net())",
        "@torch.inference_mode\ndef test(model):\n    F.cross_entropy(model(x), y)\ntest(Net())",
        "def test(model):\n    model.eval()\n    F.cross_entropy(model(x), y)\ntest(Net())",
        "def test(model):\n    model.train(False)\n    F.cross_entropy(model(x), y)\ntest(Net())",
        (
            "def test(model):\n    F.cross_entropy(model(x), y)\n"
            "model = Net()\nwith torch.no_grad():\n    test(model)"
        ),
        "model = Net().eval()\nF.cross_entropy(model(x), y)",
    ],
)
def test_evaluation_code_is_told_from_training(net, text):
    (use,) = net(text).uses
    assert not use.training


@pytest.mark.parametrize(
    "text",
    [
        "model = Net()\nmodel.eval()\nmodel.train()\nF.cross_entropy(model(x), y)",
        "def test(model):\n    model.eval()\nmodel = Net()\ntest(model)\nF.cross_entropy(model(x), y)",
        (
            "model = Net()\nif phase:\n    model.train()\nelse:\n    model.eval()\n"
            "F.cross_entropy(model(x), y)"
        ),
        "model = Net()\nwith torch.set_grad_enabled(train):\n    F.cross_entropy(model(x), y)",
        "model = Net()\nwith torch.no_grad():\n    z = model(x)\nF.cross_entropy(model(x), y)",
        "model = Net()\nema = copy.deepcopy(model)\nema.eval()\nF.cross_entropy(model(x), y)",
        (
            "def run(model):\n    F.cross_entropy(model(x), y)\n"
            "model = Net()\nrun(model)\nwith torch.no_grad():\n    run(model)"
        ),
    ],
)
def test_training_wins(net, text):
    (use,) = net(text).uses
    assert use.training


@pytest.mark.parametrize(
    "text",
    [
        "crit = nn.CrossEntropyLoss() if many else nn.BCELoss()\ncrit(Net()(x), y)",
        "if many:\n    crit = nn.CrossEntropyLoss()\nelse:\n    crit = nn.BCELoss()\ncrit(Net()(x), y)",
        "crit = {'a': nn.CrossEntropyLoss(), 'b': nn.BCELoss()}[kind]\ncrit(Net()(x), y)",
        (
            "model = Net()\nif many:\n    nn.CrossEntropyLoss()(model(x), y)\nelse:\n"
            "    nn.BCELoss()(model(x), y)"
        ),
        (
            "def loss(out):\n    if many:\n        return nn.CrossEntropyLoss()(out, y)\n"
            "    return nn.BCELoss()(out, y)\nloss(Net()(x))"
        ),
        (
            "match kind:\n    case 'a':\n        crit = nn.CrossEntropyLoss()\n    case _:\n"
            "        crit = nn.BCELoss()\ncrit(Net()(x), y)"
        ),
        (
            "def get(kind):\n    if kind:\n        return nn.CrossEntropyLoss()\n"
            "    return nn.BCELoss()\nget(kind)(Net()(x), y)"
        ),
        (
            "class T:\n    def __init__(self, many):\n        if many:\n"
            "            self.c = nn.CrossEntropyLoss()\n        else:\n            self.c = nn.BCELoss()\n"
            "    def run(self):\n        self.c(Net()(x), y)\nT(True).run()"
        ),
    ],
)
def test_a_loss_chosen_at_run_time_is_uncertain(net, text):
    uses = net(text).uses
    assert {use.sink for use in uses} == {CE, "torch.nn.BCELoss"}
    assert not any(use.certain for use in uses)


def test_a_loss_that_may_be_an_unknown_one_is_uncertain(net):
    text = "crit = nn.CrossEntropyLoss()\nif other:\n    crit = load()\ncrit(Net()(x), y)"
    (use,) = net(text).uses
    assert not use.certain


def test_a_way_chosen_at_run_time_is_uncertain(net):
    text = "out = Net()(x)\nif soft:\n    out = out.softmax(1)\nF.cross_entropy(out, y)"
    uses = net(text).uses
    assert sorted(len(use.steps) for use in uses) == [0, 1]
    assert not any(use.certain for use in uses)


@pytest.mark.parametrize(
    "text",
    [
        "crit = nn.CrossEntropyLoss(w) if many else nn.CrossEntropyLoss()\ncrit(Net()(x), y)",
        "crit = None\nif crit is None:\n    crit = nn.CrossEntropyLoss()\ncrit(Net()(x), y)",
        "def run(crit=None):\n    crit = crit or nn.CrossEntropyLoss()\n    crit(Net()(x), y)\nrun()",
        "if many:\n    crit = nn.CrossEntropyLoss()\nelse:\n    raise ValueError\ncrit(Net()(x), y)",
        "if many:\n    crit = nn.CrossEntropyLoss()\ncrit(Net()(x), y)",
        (
            "try:\n    crit = nn.CrossEntropyLoss()\nexcept OSError:\n    crit = nn.BCELoss()\n"
            "crit(Net()(x), y)"
        ),
        "model = Net() if big else Net(9)\nnn.CrossEntropyLoss()(model(x), y)",
        "model = Net()\nif log:\n    nn.CrossEntropyLoss()(model(x), y)",
    ],
)
def test_the_same_loss_on_every_way_is_certain(net, text):
    uses = net(text).uses
    assert {use.sink for use in uses} == {CE}
    assert all(use.certain for use in uses)


def test_arguments_that_differ_between_two_criteria_are_unknown(net):
    text = (
        "crit = nn.CrossEntropyLoss(ignore_index=0) if z else nn.CrossEntropyLoss(ignore_index=1)\n"
        "crit(Net()(x), y)"
    )
    (use,) = net(text).uses
    assert repr(use.kwargs["ignore_index"]) == "UNKNOWN"


def test_two_losses_of_one_output_are_both_certain(net):
    text = "out = Net()(x)\nloss = F.cross_entropy(out, y) + F.mse_loss(out, z)"
    assert [use.certain for use in net(text).uses] == [True, True]


FORWARD = """
import torch.nn as nn
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self, loss=None):
        super().__init__()
        self.loss_fn = loss
        self.fc = nn.Linear(2, 2)

    def forward(self, x, targets=None, mask=None, *, weight=None):
"""


@pytest.mark.parametrize(
    ("body", "passed"),
    [
        ("return x", set()),
        ("return F.cross_entropy(x, targets)", {"targets"}),
        ("return F.cross_entropy(x.view(-1, 2), targets.view(-1))", {"targets"}),
        ("t = targets[:, 1:].reshape(-1)\n        return F.cross_entropy(x, t)", {"targets"}),
        ("return nn.CrossEntropyLoss()(x, targets)", {"targets"}),
        ("return self.loss_fn(x, targets)", {"targets"}),
        ("return self.compute_loss(x, F.one_hot(targets))", {"targets"}),
        (
            "if targets is None:\n            return x\n        return F.mse_loss(x, targets)",
            {"targets"},
        ),
        ("return F.cross_entropy(x, targets, weight=weight)", {"targets"}),
        ("return F.cross_entropy(self.fc(x * mask), x)", set()),
        ("return self.fc(targets)", set()),
    ],
)
def test_optional_parameters_that_feed_a_loss_in_forward_are_passed(found, body, passed):
    target = found(f"{FORWARD}        {body}\n")["Net"]
    assert target.passed == passed
    assert target.uses == ()


@pytest.mark.parametrize(
    ("call", "passed"),
    [
        ("model(x)", set()),
        ("model(x, y)", {"targets"}),
        ("model(x, mask=m)", {"mask"}),
        ("model(x, None, m)", {"mask"}),
        ("model(x, weight=w)", {"weight"}),
        ("model(x, **{'mask': m})", {"mask"}),
        ("model(*batch)", set()),
        ("model(x, mask=True)", set()),
        ("model(x, targets=None)", set()),
    ],
)
def test_optional_parameters_that_a_call_gives_are_passed(found, call, passed):
    assert found(f"{FORWARD}        return x\nmodel = Net()\n{call}\n")["Net"].passed == passed
