"""Which classes the benchmark of the wild counts, by syntax alone."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from benchmarks.corpus.classes import ClassFact, defined_in, survey
from benchmarks.corpus.names import source_files

MODEL = """
def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(x)
"""
NN = "from torch import nn\n"


def model(name: str, base: str = "nn.Module") -> str:
    return f"class {name}({base}):\n    {MODEL.strip()}\n\n"


@pytest.fixture
def facts(tmp_path: Path):
    def run(files: dict[str, str] | str) -> dict[str, str]:
        if isinstance(files, str):
            files = {"net.py": files}
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return {fact.name: fact.kind for fact in survey(tmp_path, source_files(tmp_path))}

    return run


def test_a_class_that_derives_from_a_module_is_a_model(facts) -> None:
    assert facts(NN + model("Net") + "class Data:\n    def forward(self, x): ...\n") == {
        "Net": "model"
    }


def test_the_lines_of_a_class_are_those_of_its_definition(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NN + model("Net"))
    (fact,) = survey(tmp_path, source_files(tmp_path))
    assert fact == ClassFact("net.py", "Net", 2, 8, "model")


def test_bases_are_followed_over_files(facts) -> None:
    found = facts(
        {
            "lib/base.py": NN + "class Base(nn.Module):\n    pass\n",
            "lib/__init__.py": "from .base import *\n",
            "lib/net.py": "from .base import Base as B\nfrom torch import nn\n" + model("Net", "B"),
            "main.py": "import lib\nimport lib.net as n\nfrom torch import nn\n"
            + model("Other", "lib.Base")
            + "class Third(n.Net):\n    pass\n",
        }
    )
    assert found == {"Net": "model", "Other": "model", "Third": "model"}


FORWARD = "    def forward(self, x):\n        return x\n"


@pytest.mark.parametrize(
    "text",
    [
        "class Net(nn.Module):\n    def __init__(self):\n        self.a = Part()\n" + FORWARD,
        "def block():\n    return Part()\n"
        "class Net(nn.Module):\n    def __init__(self):\n        self.a = block()\n" + FORWARD,
        "class Net(nn.Module):\n" + FORWARD + "def net():\n    return Net(Part)\n",
    ],
    ids=["in-a-class", "through-a-function", "handed-over"],
)
def test_what_another_module_class_of_the_file_builds_is_a_part(facts, text: str) -> None:
    assert facts(NN + model("Part") + text) == {"Part": "part", "Net": "model"}


def test_a_base_an_annotation_or_a_type_check_builds_nothing(facts) -> None:
    text = """
    class Net(Base):
        other: Other

        def forward(self, x: Base):
            Base.__init__(self)
            if isinstance(x, Base):
                return x
            return super(Net, self).forward(x)
    """
    found = facts(NN + model("Base") + model("Other") + textwrap.dedent(text))
    assert found == {"Base": "model", "Other": "model", "Net": "model"}


def test_a_class_without_forward_does_not_count(facts) -> None:
    text = """
    class Empty(nn.Module):
        pass

    class Abstract(nn.Module):
        def forward(self, x):
            raise NotImplementedError
    """
    assert facts(NN + textwrap.dedent(text)) == {}


def test_losses_are_told_apart(facts) -> None:
    text = """
    class Dice(nn.Module):
        def forward(self, logits, target):
            return (logits * target).sum()

    class Focal(nn.CrossEntropyLoss):
        def forward(self, a, b):
            return super().forward(a, b)

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x, target):
            return self.fc(x) + target
    """
    found = facts(NN + textwrap.dedent(text))
    assert found == {"Dice": "loss", "Focal": "loss", "Decoder": "model"}


def test_classes_that_cannot_be_reached_are_told_apart(facts) -> None:
    found = facts(
        {
            "old.py": NN + model("Old") + "print 'done'\n",
            "foreign.py": "from torch import nn\nfrom no_such_package.nn import Base\n"
            + model("Foreign", "Base"),
        }
    )
    assert found == {"Old": "not-python-3", "Foreign": "base-not-installed"}


def test_a_base_of_an_installed_package_is_read_there(facts) -> None:
    text = "from torchvision.models import ResNet\nfrom torch import nn\n" + model("Net", "ResNet")
    assert facts(text) == {"Net": "model"}


def test_the_home_of_an_imported_class(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NN + model("Net"))
    (tmp_path / "train.py").write_text("from nets import Net as N\nimport torch\n")
    assert defined_in(tmp_path, "train.py", "N") == ("nets.py", "Net")
    assert defined_in(tmp_path, "train.py", "torch") is None


def test_the_classes_of_a_notebook_count(facts) -> None:
    cells = [{"cell_type": "code", "source": text} for text in ("%magic\n" + NN, model("Net"))]
    assert facts({"a.ipynb": json.dumps({"cells": cells}), "b.ipynb": "{"}) == {"Net": "model"}
