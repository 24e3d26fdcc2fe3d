"""Each layer knows the line of the user's code that built it."""

from __future__ import annotations

import copy
import textwrap

import pytest
import torch
from torch import nn

from nnlint.linter.load.built import built_at, recording
from nnlint.linter.trace.positions import UserCode


def execute(text, path, values):
    exec(compile(text, path, "exec"), values)  # noqa: S102 - stands for a user's file


@pytest.fixture
def built(tmp_path):
    """Run a text and return a function from a module to the text that built it."""

    def run(text):
        text = textwrap.dedent(text)
        path = str(tmp_path / "net.py")
        code = UserCode(path, text, str(tmp_path))
        values = {"nn": nn, "torch": torch, "copy": copy}
        with recording(code):
            execute(text, path, values)

        def show(module):
            place = built_at(module)
            if place is None:
                return None
            assert place.path == path
            line = text.split("\n")[place.line - 1]
            return line[place.column - 1 : place.end_column - 1]

        return values["net"], show

    return run


def test_each_layer_has_its_own_call(built):
    net, show = built(
        """
        def block(n):
            return nn.Sequential(nn.Conv2d(n, n, 3), nn.ReLU())
        class Part(nn.Module):
            def __init__(self):
                super().__init__()
                self.ä = "ö"; self.fc = nn.Linear(2, 2); self.act = nn.ReLU()
        class Net(Part):
            def __init__(self):
                super().__init__()
                self.block = block(3)
                self.parts = nn.ModuleList([Part() for _ in range(2)])
                self.head = nn.Sequential(
                    nn.LayerNorm(3),
                )
        net = Net()
        """
    )
    assert show(net) == "Net()"
    assert show(net.fc) == "nn.Linear(2, 2)"
    assert show(net.act) == "nn.ReLU()"
    assert show(net.block[0]) == "nn.Conv2d(n, n, 3)"
    assert show(net.block) == "nn.Sequential(nn.Conv2d(n, n, 3), nn.ReLU())"
    assert show(net.parts[1]) == "Part()"
    assert show(net.head) == "nn.Sequential("
    assert show(net.head[0]) == "nn.LayerNorm(3)"


def test_layers_within_layers_of_torch_stand_at_the_user_s_line(built):
    net, show = built("net = nn.TransformerEncoderLayer(8, 2)\n")
    assert show(net.self_attn.out_proj) == "nn.TransformerEncoderLayer(8, 2)"


def test_copies_keep_the_place(built):
    net, show = built("layer = nn.Linear(1, 1)\nnet = copy.deepcopy(layer)\n")
    assert show(net) == "nn.Linear(1, 1)"


def test_helpers_of_the_project_count_where_the_file_itself_does_not(tmp_path):
    code = UserCode(str(tmp_path / "net.py"), "", str(tmp_path))
    values = {"nn": nn}
    with recording(code):
        execute("net = nn.ReLU()", str(tmp_path / "other.py"), values)
        execute("odd = nn.ReLU()", "/elsewhere/other.py", values)
        execute("lib = nn.ReLU()", str(tmp_path / "site-packages" / "a.py"), values)
    place = built_at(values["net"])
    assert place is not None
    assert place.path.endswith("other.py")
    assert built_at(values["odd"]) is None
    assert built_at(values["lib"]) is None


def test_without_recording_nothing_is_known():
    assert built_at(nn.ReLU()) is None
