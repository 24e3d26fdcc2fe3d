"""How the files of a project build a model."""

from __future__ import annotations

import pytest

from nnlint.linter.discover.recipes import Assumed, Construction, Named, Plain

NET = """\
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, width, classes=10):
        super().__init__()
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        return self.fc(x)
"""


def told(construction: Construction):
    """Return the arguments of a construction, as plain values where they are literal."""

    def value(recipe):
        return recipe.value if isinstance(recipe, Plain) else recipe

    kwargs = {name: value(recipe) for name, recipe in construction.kwargs.items()}
    return [value(recipe) for recipe in construction.args], kwargs


@pytest.mark.parametrize(
    ("script", "args", "kwargs"),
    [
        ("from net import Net\nnet = Net(16)\n", [16], {}),
        ("from net import Net\nnet = Net(width=16, classes=2)\n", [], {"width": 16, "classes": 2}),
        ("import net\n\ndef main():\n    model = net.Net(4, 5)\n", [4, 5], {}),
        ("from net import Net\n\ndef build(width=3):\n    return Net(width)\n", [3], {}),
        (
            "from net import Net\n\ndef build(width):\n    return Net(width)\n\nbuild(12)\n",
            [12],
            {},
        ),
        ("from net import *\nif __name__ == '__main__':\n    Net(7)\n", [7], {}),
    ],
)
def test_a_call_in_another_file(across, script, args, kwargs):
    target = across("net.py", {"net.py": NET, "main.py": script})["Net"]
    assert told(target.constructions[0]) == (args, kwargs)


def test_the_location_is_the_call(across, tmp_path):
    script = "from net import Net\n\nmodel = Net(16)\n"
    target = across("net.py", {"net.py": NET, "main.py": script})["Net"]
    place = target.constructions[0].location
    assert place is not None
    assert (place.path, place.line, place.column) == (str(tmp_path / "main.py"), 3, 9)


def test_what_leaves_least_to_assume_comes_first(across):
    files = {
        "net.py": NET,
        "a.py": "from net import Net\nNet(read_width())\n",
        "b.py": "from net import Net\nNet(5)\nNet(6, 2)\n",
    }
    constructions = across("net.py", files)["Net"].constructions
    assert [each.assumes for each in constructions] == [0, 0, 1]
    assert told(constructions[0]) == ([5], {})
    assert constructions[2].args == (Assumed("width"),)


def test_an_unknown_value_is_left_to_its_default(across):
    script = "from net import Net\nNet(5, count())\nNet(classes=count(), width=5)\n"
    constructions = across("net.py", {"net.py": NET, "main.py": script})["Net"].constructions
    assert [told(each) for each in constructions] == [([5], {}), ([], {"width": 5})]


def test_hidden_arguments_that_are_required_are_assumed(across):
    script = "from net import Net\nNet(**load())\n"
    (construction,) = across("net.py", {"net.py": NET, "main.py": script})["Net"].constructions
    assert construction.args == ()
    assert construction.kwargs == {"width": Assumed("width")}


def test_the_same_call_counts_once(across):
    script = "from net import Net\nfor fold in range(9):\n    model = Net(5)\nother = Net(5)\n"
    constructions = across("net.py", {"net.py": NET, "main.py": script})["Net"].constructions
    assert [told(each) for each in constructions] == [([5], {})]


def test_no_more_constructions_than_anybody_tries(across):
    script = "from net import Net\n" + "".join(f"Net({width})\n" for width in range(1, 30))
    assert len(across("net.py", {"net.py": NET, "main.py": script})["Net"].constructions) == 6


BLOCKS = """\
import torch.nn as nn


class Block(nn.Module):
    def __init__(self, width, act, norm=nn.BatchNorm1d):
        super().__init__()
        self.fc, self.act, self.norm = nn.Linear(width, width), act(), norm(width)

    def forward(self, x):
        return self.act(self.norm(self.fc(x)))
"""


def test_a_part_gets_what_its_builder_gives_it(across):
    files = {
        "blocks.py": BLOCKS,
        "net.py": """\
            import torch.nn as nn
            from blocks import Block

            class Net(nn.Module):
                def __init__(self, width, depth=2):
                    super().__init__()
                    self.blocks = nn.Sequential(*[Block(width, nn.ReLU) for _ in range(depth)])

                def forward(self, x):
                    return self.blocks(x)
            """,
        "main.py": "from net import Net\nmodel = Net(width=24)\n",
    }
    construction = across("blocks.py", files)["Block"].constructions[0]
    assert construction.args == (Plain(24), Named("", "torch.nn.ReLU"))


def test_a_builder_that_nobody_builds_says_what_it_can(across):
    files = {
        "blocks.py": BLOCKS,
        "net.py": """\
            import torch.nn as nn
            from blocks import Block

            class Net(nn.Module):
                def __init__(self, width, act=nn.GELU):
                    super().__init__()
                    self.block = Block(width, act)
                    self.wide = Block(2 * 32, act=act)

                def forward(self, x):
                    return self.wide(self.block(x))
            """,
    }
    constructions = across("blocks.py", files)["Block"].constructions
    assert constructions[0].args == (Plain(64),)
    assert constructions[0].kwargs == {"act": Named("", "torch.nn.GELU")}
    assert constructions[1].assumes == 1


def test_looking_into_constructors_finds_no_new_parts(across):
    """The class stays a model of its own file, although another file's constructor builds it."""
    files = {
        "net.py": NET,
        "pair.py": """\
            import torch.nn as nn
            from net import Net

            class Pair(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.left, self.right = Net(4), Net(5)

                def forward(self, x):
                    return self.left(x) + self.right(x)
            """,
    }
    assert [target.kind for target in across("net.py", files).values()] == ["class"]
    assert list(across("pair.py", files)) == ["Pair"]


def test_a_number_that_may_be_another_one_is_not_told(across):
    script = """\
        from net import Net

        def build(data, classes=None):
            width = (1,) if data.ndim == 1 else data.shape[1:]
            first = Net(*width)
            return Net(64 if data.small else len(data))

        build(load())
        """
    constructions = across("net.py", {"net.py": NET, "main.py": script})["Net"].constructions
    assert [each.args for each in constructions] == [
        (Assumed("width", Plain(1)),),
        (Assumed("width", Plain(64)),),
    ]
