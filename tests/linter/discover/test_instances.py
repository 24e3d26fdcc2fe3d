from __future__ import annotations

import pytest

HEAD = """\
import copy
import torch
import torch.nn as nn
import torch.nn.functional as F
from functools import partial

class Plain(nn.Module):
    def __init__(self, width=8, depth=2):
        super().__init__()
        self.fc = nn.Linear(width, depth)
    def forward(self, x):
        return self.fc(x)

class Sized(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, 2)
    def forward(self, x):
        return self.fc(x)

"""


def kinds(targets):
    return {name: target.kind for name, target in targets.items()}


@pytest.mark.parametrize(
    "build",
    [
        "model = Sized(10)\n",
        "model = Sized(10).to(device)\n",
        "model = nn.DataParallel(Sized(10)).cuda()\n",
        "model = torch.compile(Sized(10))\n",
        "model: nn.Module = Sized(10)\n",
        "model = Sized(10)\nmodel = model.cuda()\n",
        "model = Sized(10)\nsame = model\n",
        "if torch.cuda.is_available():\n    model = Sized(10)\n",
        "try:\n    model = Sized(10)\nexcept OSError:\n    pass\n",
        "with torch.device('meta'):\n    model = Sized(10)\n",
        "model, opt = Sized(10), None\n",
    ],
)
def test_an_instance_covers_a_class_that_needs_arguments(found, build):
    targets = found(HEAD + build)
    assert kinds(targets) == {"Plain": "class", "model": "instance"}
    assert targets["model"].class_name == "Sized"
    assert targets["model"].location.line >= HEAD.count("\n") + 1


@pytest.mark.parametrize(
    "build",
    [
        "if __name__ == '__main__':\n    model = Sized(10)\n",
        "if '__main__' == __name__:\n    model = Sized(10)\n",
        "def main():\n    model = Sized(10)\nmain()\n",
        "for n in sizes:\n    model = Sized(n)\n",
    ],
)
def test_what_importing_does_not_leave_behind_is_no_instance(found, build):
    targets = found(HEAD + build)
    assert kinds(targets) == {"Plain": "class", "Sized": "class"}
    assert targets["Sized"].required == ("width",)


@pytest.mark.parametrize(
    "build", ["net = Plain()\n", "net = Plain(8)\n", "net = Plain(depth=2).cuda()\n"]
)
def test_an_instance_with_default_arguments_is_its_class(found, build):
    assert kinds(found(HEAD + build))["Plain"] == "class"
    assert "net" not in found(HEAD + build)


@pytest.mark.parametrize("arguments", ["10", "width=10", "*sizes", "**options", "8, 3"])
def test_an_instance_with_other_arguments_stands_for_its_class(found, arguments):
    assert kinds(found(HEAD + f"net = Plain({arguments})\n")) == {
        "net": "instance",
        "Sized": "class",
    }


def test_a_class_built_with_and_without_arguments_is_listed_next_to_the_instance(found):
    targets = kinds(found(HEAD + "a = Plain(10)\nb = Plain()\n"))
    assert targets == {"Plain": "class", "a": "instance", "Sized": "class"}


def test_a_sequential_at_module_level_is_an_instance(found):
    text = "import torch.nn as nn\nnet = nn.Sequential(nn.Linear(2, 2), nn.ReLU())\n"
    targets = found(text)
    assert kinds(targets) == {"net": "instance"}
    assert targets["net"].class_name == ""


@pytest.mark.parametrize(
    "text",
    [
        "act = nn.Sequential(nn.ReLU(), nn.Dropout())\n",
        "act = nn.ReLU()\n",
        "layer = nn.Linear(2, 2)\n",
        "layers = [nn.Linear(2, 2)]\n",
        "head = nn.Sequential(nn.Linear(2, 2))\nnet = Plain(head, 3)\n",
    ],
)
def test_pieces_at_module_level_are_no_instances(found, text):
    assert kinds(found(HEAD + text)).keys() <= {"Plain", "Sized", "net"}


def test_a_single_layer_that_meets_a_loss_is_an_instance(found):
    text = (
        "import torch.nn as nn\nmodel = nn.Linear(4, 3)\nloss = nn.CrossEntropyLoss()(model(x), y)"
    )
    assert kinds(found(text)) == {"model": "instance"}


def test_a_sequential_that_a_model_uses_is_no_instance(found):
    text = (
        "import torch.nn as nn\nhead = nn.Sequential(nn.Linear(2, 2))\n"
        "class Net(nn.Module):\n    def forward(self, x):\n        return head(x)\n"
    )
    assert kinds(found(text)) == {"Net": "class"}


@pytest.mark.parametrize(
    "factory",
    [
        "def make():\n    return Sized(10)\n",
        "def make(width=10):\n    model = Sized(width)\n    model.eval()\n    return model\n",
        "def make(*args, **kwargs):\n    return Sized(10, **kwargs)\n",
        (
            "def make(pretrained=False):\n    m = Sized(10)\n    if pretrained:\n"
            "        m.load_state_dict(torch.load('x'))\n    return m\n"
        ),
        "def _make(width):\n    net = Sized(width)\n    return net\ndef make():\n    return _make(3)\n",
        (
            "@register_model()\n@handle_legacy_interface(weights=('a', None))\n"
            "def make(*, weights=None):\n    return Sized(4)\n"
        ),
        "def make():\n    build = partial(Sized, 4)\n    return build()\n",
        "def make(big=False):\n    return Sized(10) if big else Sized(5)\n",
    ],
)
def test_a_function_that_returns_a_model_is_a_factory(found, factory):
    targets = found(HEAD + factory)
    assert kinds(targets) == {"Plain": "class", "make": "factory"}
    assert targets["make"].class_name == "Sized"


def test_the_location_of_a_factory_is_its_name(found):
    location = found(HEAD + "def make():\n    return Sized(10)\n")["make"].location
    assert (location.line, location.column, location.end_column) == (HEAD.count("\n") + 1, 5, 9)


@pytest.mark.parametrize(
    "function",
    [
        "def make(width):\n    return Sized(width)\n",
        "def make():\n    Sized(3)\n",
        "def make():\n    model = Sized(3)\n    return model(torch.rand(3))\n",
        "def make():\n    return Sized(3), 1\n",
        "def make():\n    yield Sized(3)\n",
        "async def make():\n    return Sized(3)\n",
        "def make():\n    return [Sized(3)]\n",
        "def make():\n    return nn.ReLU()\n",
        "def make():\n    return unknown()\n",
        "def train():\n    return Sized(3)\n",
        (
            "def make():\n    m = Sized(3)\n    loss = F.cross_entropy(m(x), y)\n    loss.backward()\n"
            "    return m\n"
        ),
        "def make(n=1):\n    return make(n)\n",
    ],
)
def test_a_function_that_does_something_else_is_no_factory(found, function):
    assert kinds(found(HEAD + function)) == {"Plain": "class", "Sized": "class"}


def test_a_factory_that_passes_nothing_is_its_class(found):
    assert kinds(found(HEAD + "def make():\n    return Plain()\n")) == {
        "Plain": "class",
        "Sized": "class",
    }


def test_a_factory_that_initialises_its_model_stands_for_the_class(found):
    factory = "def make():\n    m = Plain()\n    m.apply(init)\n    return m\n"
    assert kinds(found(HEAD + factory)) == {"make": "factory", "Sized": "class"}


def test_a_factory_that_returns_another_s_model_is_not_listed(found):
    text = "def small():\n    return Sized(1)\ndef get():\n    return small()\n"
    assert kinds(found(HEAD + text)) == {"Plain": "class", "small": "factory"}


def test_factories_of_different_sizes_are_all_listed(found):
    text = "def small():\n    return Sized(1)\ndef large():\n    return Sized(9)\n"
    assert kinds(found(HEAD + text)) == {"Plain": "class", "small": "factory", "large": "factory"}


def test_an_instance_made_by_a_factory_is_the_factory(found):
    text = "def small():\n    return Sized(1)\nmodel = small().cuda()\n"
    assert kinds(found(HEAD + text)) == {"Plain": "class", "small": "factory"}


def test_a_factory_of_blocks_is_no_target(found):
    text = (
        "import torch.nn as nn\n"
        "def head():\n    return nn.Sequential(nn.Linear(2, 2))\n"
        "class Net(nn.Module):\n    def __init__(self):\n        self.head = head()\n"
        "    def forward(self, x):\n        return x\n"
    )
    assert kinds(found(text)) == {"Net": "class"}


@pytest.mark.parametrize(
    ("build", "target"),
    [
        ("def make():\n    return Sized(3)\nmodel = make()\n", "make"),
        ("def make(n=3):\n    return Sized(n)\nmodel = make(4)\n", "model"),
        ("def make():\n    return Sized(3)\ndef main():\n    model = make()\n{}\nmain()\n", "make"),
        ("model = Sized(4)\n", "model"),
        ("model = Plain()\n", "Plain"),
        ("model = copy.deepcopy(Plain())\n", "Plain"),
        ("net = Sized(5)\nmodel = Sized(4)\n", "model"),
    ],
)
def test_a_use_belongs_to_the_target_that_builds_the_model(found, build, target):
    use = "F.cross_entropy(model(x), y)\n"
    text = build.format("    " + use) if "{}" in build else build + use
    used = {name for name, each in found(HEAD + text).items() if each.uses}
    assert used == {target}


def test_a_local_instance_of_a_covered_class_speaks_for_what_covers_it(found):
    text = (
        "def small():\n    return Sized(1)\n"
        "def main():\n    model = Sized(7)\n    F.cross_entropy(model(x), y)\n"
    )
    assert found(HEAD + text)["small"].uses


def test_a_variable_that_is_bound_anew_speaks_for_its_last_model_only(found):
    targets = found(
        f"{HEAD}model = nn.Sequential(nn.Linear(4, 3))\n"
        "nn.CrossEntropyLoss()(model(x), y)\n"
        "model = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(dim=1))\n"
        "nn.NLLLoss()(model(x), y)\n"
    )
    assert [use.sink for use in targets["model"].uses] == ["torch.nn.NLLLoss"]


def test_a_variable_bound_in_two_branches_speaks_for_both_models(found):
    targets = found(
        f"{HEAD}if wide:\n    model = Sized(100)\nelse:\n    model = Sized(10)\n"
        "nn.CrossEntropyLoss()(model(x), y)\n"
    )
    assert [use.sink for use in targets["model"].uses] == ["torch.nn.CrossEntropyLoss"]
