from __future__ import annotations

import pytest

HEAD = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"


def body(name, base="nn.Module", init="self", inner="x"):
    return (
        f"class {name}({base}):\n"
        f"    def __init__({init}):\n"
        "        super().__init__()\n"
        "        self.fc = nn.Linear(2, 2)\n"
        f"    def forward(self, x):\n        return {inner}\n"
    )


@pytest.mark.parametrize(
    ("imports", "base"),
    [
        ("import torch", "torch.nn.Module"),
        ("import torch.nn", "torch.nn.Module"),
        ("import torch.nn as nn", "nn.Module"),
        ("from torch import nn", "nn.Module"),
        ("from torch import nn as layers", "layers.Module"),
        ("from torch.nn import Module", "Module"),
        ("from torch.nn import *", "Module"),
        ("from torch.nn.modules.module import Module as Base", "Base"),
        ("import torch\nnn = torch.nn", "nn.Module"),
        ("import torch.nn as nn", "nn.Sequential"),
        ("import torch.nn as nn\nfrom typing import Generic, T", "nn.Module, Generic[T]"),
        ("try:\n    import torch.nn as nn\nexcept ImportError:\n    nn = None", "nn.Module"),
        ("import sys\nif sys.version_info > (3,):\n    from torch import nn", "nn.Module"),
        ("import pytorch_lightning as pl", "pl.LightningModule"),
        ("import lightning as L", "L.LightningModule"),
        ("import lightning.pytorch as pl", "pl.LightningModule"),
        ("from lightning.pytorch import LightningModule", "LightningModule"),
    ],
)
def test_a_class_is_a_model_however_its_base_is_imported(found, imports, base):
    text = f"{imports}\nclass Net({base}):\n    def forward(self, x):\n        return x\n"
    assert list(found(text)) == ["Net"]


@pytest.mark.parametrize(
    "base", ["object", "Base", "nn.Parameter", "nn.functional.Module", "other.Module", "Module"]
)
def test_a_class_with_another_or_unknown_base_is_no_model(found, base):
    text = f"import other\nfrom elsewhere import Base\n{HEAD}class Net({base}):\n    pass\n"
    assert found(text) == {}


def test_a_file_without_torch_has_no_models(found):
    assert found("class Net:\n    pass\n") == {}


def test_only_a_lightning_module_is_marked_so(found):
    lightning = found("import lightning as L\n" + body("Net", "L.LightningModule"))
    assert lightning["Net"].lightning
    assert not found(HEAD + body("Net"))["Net"].lightning


def test_a_class_with_a_local_base_that_is_a_module_is_a_model(found):
    text = HEAD + body("Base") + "class Net(Base):\n    def forward(self, x):\n        return -x\n"
    assert list(found(text)) == ["Base", "Net"]


@pytest.mark.parametrize(
    "forward",
    [
        "    pass\n",
        "    def forward(self, x):\n        raise NotImplementedError\n",
        "    def forward(self, x):\n        '''Compute.'''\n        pass\n",
        "    @abc.abstractmethod\n    def forward(self, x):\n        return x\n",
    ],
)
def test_an_abstract_base_is_no_model(found, forward):
    text = f"import abc\n{HEAD}class Base(nn.Module):\n{forward}{body('Net', 'Base')}"
    assert list(found(text)) == ["Net"]


def test_the_location_is_the_name_of_the_class(found):
    location = found("import torch.nn as nn\n@final\nclass  Net(nn.Module):\n    pass\n")[
        "Net"
    ].location
    assert (location.line, location.column, location.end_column) == (3, 8, 11)


@pytest.mark.parametrize(
    ("init", "required"),
    [
        ("self", ()),
        ("self, width=3", ()),
        ("self, width, depth=2", ("width",)),
        ("self, width, *rest, depth, bias=True, **more", ("width", "depth")),
        ("self, width, /, depth", ("width", "depth")),
    ],
)
def test_required_parameters_are_those_without_default(found, init, required):
    assert found(HEAD + body("Net", init=init))["Net"].required == required


def test_required_parameters_come_from_the_base_that_has_the_constructor(found):
    text = HEAD + body("Base", init="self, width") + "class Net(Base):\n    depth = 3\n"
    assert found(text)["Net"].required == ("width",)


def test_required_parameters_of_a_torch_layer_are_known(found):
    text = HEAD + "class Layer(nn.Linear):\n    def forward(self, x):\n        return x\n"
    assert found(text)["Layer"].required == ("in_features", "out_features")


@pytest.mark.parametrize(
    "use",
    [
        "self.a = Block()",
        "self.a = nn.Sequential(Block(), Block())",
        "self.a = nn.ModuleList([Block() for _ in range(3)])",
        "self.a = self._make_layer(Block, 3)",
        "kind = Block",
        "self.a = {'x': Block}['x']()",
        "self.a = Block.create()",
    ],
)
def test_a_class_that_another_model_builds_is_a_block(found, use):
    net = "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    net += f"        {use}\n    def forward(self, x):\n        return self.a(x)\n"
    assert list(found(HEAD + body("Block") + net)) == ["Net"]


@pytest.mark.parametrize(
    "mention",
    [
        "    kind: Block = None\n    def forward(self, x: Block):\n        return x\n",
        "    def forward(self, x):\n        return isinstance(self.a, Block)\n",
        "    def forward(self, x):\n        return x * Block.expansion\n",
    ],
)
def test_a_class_that_another_model_only_mentions_is_a_model(found, mention):
    text = HEAD + body("Block") + "class Net(nn.Module):\n" + mention
    assert "Block" in found(text)


def test_a_class_built_by_a_helper_that_a_model_calls_is_a_block(found):
    text = (
        HEAD
        + body("Block")
        + "def make(n):\n    return [Block() for _ in range(n)]\n"
        + "class Net(nn.Module):\n    def __init__(self):\n        self.a = make(2)\n"
        + "    def forward(self, x):\n        return x\n"
    )
    assert list(found(text)) == ["Net"]


@pytest.mark.parametrize(
    "build",
    [
        "net = Net(Block, [2, 2])\n",
        "def net():\n    return Net(Block, [2, 2])\n",
        "def _net(block, n):\n    return Net(block, n)\ndef net():\n    return _net(Block, 2)\n",
        "net = Net(functools.partial(Block, bias=False), 2)\n",
        "net = Net(Block(), 2)\n",
        "net = Net(block=Block(), layers=2)\n",
        "from zoo import build\nnet = Net(1, 2)\nother = build(Net, 'net', block=Block)\n",
    ],
)
def test_a_class_given_to_the_constructor_of_a_model_is_a_block(found, build):
    text = "import functools\n" + HEAD + body("Block") + body("Net", init="self, block, layers")
    assert list(found(text + build)) == ["net"]


@pytest.mark.parametrize("kinds", ["{'plain': Block}", "dict(plain=Block)", "[Block]"])
def test_a_class_that_a_model_chooses_from_a_registry_is_a_block(found, kinds):
    net = (
        f"KINDS = {kinds}\n"
        "class Net(nn.Module):\n    def __init__(self, kind):\n        self.a = KINDS[kind]()\n"
        "    def forward(self, x):\n        return self.a(x)\n"
    )
    assert list(found(HEAD + body("Block") + net)) == ["Net"]


def test_a_class_that_a_lightning_module_chooses_from_a_registry_is_a_model(found):
    lit = (
        "import lightning as L\nKINDS = {'plain': Net}\n"
        "class Lit(L.LightningModule):\n    def __init__(self, kind):\n"
        "        self.a = KINDS[kind]()\n    def forward(self, x):\n        return self.a(x)\n"
    )
    assert list(found(HEAD + body("Net") + lit)) == ["Net", "Lit"]


def test_a_block_that_builds_itself_is_a_model(found):
    text = HEAD + body("Block", init="self, inner=None").replace(
        "nn.Linear(2, 2)", "Block(inner) if inner else None"
    )
    assert list(found(text)) == ["Block"]


def test_two_classes_that_build_each_other_are_both_models(found):
    one = body("One").replace("nn.Linear(2, 2)", "Two()")
    two = body("Two").replace("nn.Linear(2, 2)", "One()")
    assert list(found(HEAD + one + two)) == ["One", "Two"]


def test_a_container_without_forward_does_not_hide_the_models_it_holds(found):
    holder = "class Pair(nn.Module):\n    def __init__(self):\n        self.a = One()\n"
    assert list(found(HEAD + body("One") + holder)) == ["One"]


def test_a_module_that_is_only_used_as_criterion_is_no_model(found):
    loss = (
        "class Smooth(nn.Module):\n    def forward(self, pred, target):\n"
        "        return F.cross_entropy(pred, target)\n"
    )
    use = "net = Net()\ncriterion = Smooth()\nloss = criterion(net(x), y)\n"
    targets = found(HEAD + body("Net") + loss + use)
    assert list(targets) == ["Net"]
    assert [use.sink for use in targets["Net"].uses] == ["torch.nn.functional.cross_entropy"]


def test_a_loss_module_that_nothing_uses_is_kept(found):
    loss = (
        "class Smooth(nn.Module):\n    def forward(self, pred, target):\n"
        "        return F.cross_entropy(pred, target)\n"
    )
    assert list(found(HEAD + body("Net") + loss)) == ["Net", "Smooth"]


def test_a_decoder_that_takes_labels_and_another_model_s_output_is_a_model(found):
    text = (
        HEAD
        + body("Encoder")
        + body("Decoder").replace("self, x)", "self, memory, target)")
        + "enc = Encoder()\ndec = Decoder()\nloss = F.cross_entropy(dec(enc(x), y), y)\n"
    )
    targets = found(text)
    assert list(targets) == ["Encoder", "Decoder"]
    assert len(targets["Decoder"].uses) == 1
    assert targets["Encoder"].uses == ()


def test_a_class_deriving_a_torch_loss_is_no_model(found):
    text = HEAD + body("Net") + "class Mine(nn.CrossEntropyLoss):\n    pass\n"
    assert list(found(text)) == ["Net"]


def test_classes_in_functions_and_behind_the_main_guard_are_no_targets(found):
    inner = "".join(f"    {line}\n" for line in body("Inner").splitlines())
    text = HEAD + body("Net") + "def make(n):\n" + inner
    text += "if __name__ == '__main__':\n" + inner
    assert list(found(text)) == ["Net"]


def test_a_class_under_a_top_level_condition_is_a_model(found):
    inner = "".join(f"    {line}\n" for line in body("Net").splitlines())
    assert list(found(HEAD + "if True:\n" + inner)) == ["Net"]
