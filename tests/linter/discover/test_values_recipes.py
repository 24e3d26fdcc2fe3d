"""What is written down of the call that builds a model."""

from __future__ import annotations

import os

import pytest

from nnlint.linter.discover.recipes import (
    Assumed,
    Called,
    Collected,
    Keyed,
    Named,
    Options,
    Plain,
)
from nnlint.linter.discover.values import (
    NOTHING,
    Arguments,
    Constant,
    Either,
    Made,
    Sequence,
    Settings,
    Table,
    Wanted,
)
from nnlint.linter.discover.writing import recipe_of

HERE = os.path.realpath("model.py")


def torch(name, *args, **kwargs):
    return Called(Named("", f"torch.{name}"), args, kwargs)


def listed(*values):
    return Collected("list", tuple(map(Plain, values)))


@pytest.mark.parametrize(
    ("text", "recipe"),
    [
        ("3", Plain(3)),
        ("[1, 2]", listed(1, 2)),
        ("(1, 'M')", Collected("tuple", (Plain(1), Plain("M")))),
        ("{1, 2}", Collected("set", (Plain(1), Plain(2)))),
        ("{'a': [1]}", Keyed({"a": listed(1)})),
        ("range(3)", Called(Named("", "builtins.range"), (Plain(0), Plain(3), Plain(1)))),
        ("...", Named("", "builtins.Ellipsis")),
        ("nn.ReLU", Named("", "torch.nn.ReLU")),
        ("int", Named("", "builtins.int")),
        ("torch.relu", Named("", "torch.relu")),
        ("nn.ReLU(inplace=True)", torch("nn.ReLU", inplace=Plain(value=True))),
        (
            "nn.Sequential(nn.Linear(1, 2))",
            torch("nn.Sequential", torch("nn.Linear", Plain(1), Plain(2))),
        ),
        (
            "nn.ModuleList([nn.Identity()])",
            torch("nn.ModuleList", Collected("list", (torch("nn.Identity"),))),
        ),
        (
            "nn.ModuleDict({'a': nn.Identity()})",
            torch("nn.ModuleDict", Keyed({"a": torch("nn.Identity")})),
        ),
        ("torch.zeros(2, 3)", torch("zeros", Plain(2), Plain(3))),
        ("torch.device('cuda:0')", torch("device", Plain("cpu"))),
        ("'cuda'", Plain("cpu")),
        ("'cuda' if torch.cuda.is_available() else 'cpu'", Plain("cpu")),
        ("Block", Named(HERE, "Block")),
        ("Block(4)", Called(Named(HERE, "Block"), (Plain(4),))),
        ("Block(4, depth=2)", Called(Named(HERE, "Block"), (Plain(4),), {"depth": Plain(2)})),
        (
            "Block(unknown, 2)",
            Called(Named(HERE, "Block"), (), {"width": Assumed("width"), "depth": Plain(2)}),
        ),
        ("Block(4, unknown)", Called(Named(HERE, "Block"), (Plain(4),))),
        ("Block()", Called(Named(HERE, "Block"), (), {"width": Assumed("width")})),
        ("nn.Linear(unknown, 2)", torch("nn.Linear", Assumed("in_features"), Plain(2))),
        ("[Block(1)]", Collected("list", (Called(Named(HERE, "Block"), (Plain(1),)),))),
        ("helper", Named(HERE, "helper")),
        ("Holder.make", Named(HERE, "Holder.make")),
        ("Holder.built", Named(HERE, "Holder.built")),
        (
            "partial(Block, 3)",
            Called(Named("", "functools.partial"), (Named(HERE, "Block"), Plain(3))),
        ),
        (
            "partial(nn.LayerNorm, eps=1e-6)",
            Called(
                Named("", "functools.partial"),
                (Named("", "torch.nn.LayerNorm"),),
                {"eps": Plain(1e-6)},
            ),
        ),
        (
            "transformers.BertConfig(hidden_size=8)",
            Called(Named("", "transformers.BertConfig"), (), {"hidden_size": Plain(8)}),
        ),
        ("Path('a') / 'b'", Called(Named("", "pathlib.Path"), (Plain("a/b"),))),
        ("unknown", Assumed("")),
        ("unknown + 1", Assumed("")),
        ("[1, unknown]", Assumed("")),
        ("[x for x in unknown]", Assumed("")),
        ("torch.zeros(unknown)", Assumed("")),
        ("torch.load('weights.pt')", Assumed("")),
        ("torch.cuda.Stream()", Assumed("")),
        ("np.loadtxt('x.csv')", Assumed("")),
        ("transformers.AutoModel.from_pretrained('bert')", Assumed("")),
        ("open('x')", Assumed("")),
        ("lambda x: x", Assumed("")),
        ("None or 3", Plain(3)),
        ("3 if unknown else 5", Plain(3)),
        ("unknown if unknown else 5", Assumed("", Plain(5))),
    ],
)
def test_an_argument(built, text, recipe):
    head = (
        "from functools import partial\nfrom pathlib import Path\nimport transformers\n"
        "import numpy as np\n\ndef helper(x):\n    return x\n\nclass Holder:\n"
        "    @staticmethod\n    def make(x):\n        return x\n"
        "    @classmethod\n    def built(cls):\n        return cls()\n"
    )
    assert built(f"{head}\ndef use(flag):\n    Net({text})\n").args == (recipe,)


@pytest.mark.parametrize(
    ("body", "args"),
    [
        ("a, b = 1, 2\nNet(a, b)", (1, 2)),
        ("x = 1\nx += 2\nNet(x)", (3,)),
        (
            "sizes = [1]\nsizes.append(2)\nsizes.extend([3])\nsizes.insert(0, 0)\nNet(*sizes)",
            (0, 1, 2, 3),
        ),
        ("sizes = [1, 2]\nlast = sizes.pop()\nNet(last, len(sizes))", (2, 1)),
        ("table = {'a': 1}\ntable['b'] = 2\ntable.update(c=3)\nNet(*table.values())", (1, 2, 3)),
        ("table = {'a': 1}\nNet(table.get('a'), table.get('b', 5), table.get('c'))", (1, 5, None)),
        ("if 3 > 2:\n    n = 1\nelse:\n    n = 2\nNet(n)", (1,)),
        ("n = 1\nif 3 < 2:\n    n = 2\nNet(n, n + 1)", (1, 2)),
        ("depth = 50\nif depth == 18:\n    n = 1\nelif depth == 50:\n    n = 2\nNet(n)", (2,)),
        ("n = 1 if unknown else 2\nNet(n * 2)", (2,)),
        ("Net(round_up(30))", (32,)),
        ("Net(choose('b'))", (2,)),
        ("Net(choose('c'))", (3,)),
        ("n = None\nif n is None:\n    n = 7\nNet(n)", (7,)),
        ("n = 0\nfor size in [1, 2, 3, 4, 5, 6]:\n    n += size\nNet(n)", (21,)),
        (
            "n = 3\nfor x in [4, 'M', 5, 'M', 6, 'M']:\n    if x != 'M':\n        n = x\nNet(n)",
            (6,),
        ),
    ],
)
def test_values_on_their_way(built, body, args):
    head = """
def round_up(value, to=8):
    rounded = max(to, int(value + to / 2) // to * to)
    if rounded < 0.9 * value:
        rounded += to
    return rounded

def choose(kind):
    if kind == "a":
        return 1
    if kind == "b":
        return 2
    return 3

def use(flag):
"""
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    assert built(f"{head}{indented}\n").args == tuple(map(Plain, args))


@pytest.mark.parametrize(
    "body",
    [
        "words = []\nfor line in lines:\n    words.append(line)\nNet(words)",
        "words = []\nwhile unknown:\n    words.append(1)\nNet(len(words))",
        "table = {}\nfor word in words:\n    table[word] = len(table)\nNet(len(table))",
        "n = 0\nfor word in words:\n    n += 1\nNet(n)",
        "Net(sum(1 for word in words))",
        "Net(max(len(word) for word in words))",
    ],
)
def test_what_is_counted_at_run_time_is_not_told(built, body):
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    assert built(f"def use(words):\n{indented}\n").args == (Assumed(""),)


def test_layers_made_from_a_literal_list(built):
    text = """
        SIZES = {"A": [8, "M", 16, "M", 32, "M"]}

        def layers(sizes, norm=False):
            made, width = [], 3
            for size in sizes:
                if size == "M":
                    made += [nn.MaxPool2d(2)]
                else:
                    conv = nn.Conv2d(width, size, 3)
                    if norm:
                        made += [conv, nn.BatchNorm2d(size)]
                    else:
                        made += [conv]
                    width = size
            return nn.Sequential(*made)

        def use(flag):
            Net(layers(SIZES["A"]))
        """
    (recipe,) = built(text).args
    widths = [each.args[:2] for each in recipe.args if each.callee.name == "torch.nn.Conv2d"]
    assert widths == [(Plain(3), Plain(8)), (Plain(8), Plain(16)), (Plain(16), Plain(32))]
    assert len(recipe.args) == 6


def test_layers_made_at_run_time_are_not_told(built):
    text = "def use(sizes):\n    made = []\n    for n in sizes:\n        made += [nn.Linear(n, n)]\n    Net(nn.Sequential(*made))\n"
    assert built(text).args == (Assumed(""),)


def test_open_arguments_do_not_hide_what_is_known(built):
    made = built("def use(x, **options):\n    Net(1, *(2, 3), **{'a': 4}, **options)\n")
    assert made.args == (Plain(1), Plain(2), Plain(3))
    assert made.kwargs == {"a": Plain(4)}


def test_an_object_within_itself():
    table = {}
    held = Settings(table)
    table["me"] = held
    table["width"] = Constant(3)
    assert recipe_of(held, "cfg") == Options("cfg", {"width": Plain(3)})
    made = Made(1, dotted="torch.nn.Sequential")
    made.arguments = Arguments((made,))
    assert recipe_of(made, "x") == torch("nn.Sequential", Assumed(""))


def test_recipes_are_bounded_in_size_and_depth():
    value = Constant(0)
    for _ in range(100):
        value = Sequence((value, value), "list")
    # Each level holds the one below twice; all of them would be 2 ** 100 recipes.
    assert recipe_of(value, "x")
    wide = Sequence(tuple(Sequence((Constant(1),) * 200) for _ in range(200)))
    assert recipe_of(wide, "x")


@pytest.mark.parametrize(
    ("value", "recipe"),
    [
        (Either((NOTHING, Constant(2), Constant(3))), Assumed("x", Plain(2))),
        (Either((NOTHING, Sequence((NOTHING,)))), Assumed("x")),
        (Wanted(name="width"), Assumed("x")),
        (Table({"a": NOTHING}), Keyed({"a": Assumed("a")})),
        (Settings({"a": NOTHING, "b": Constant(1)}), Options("x", {"b": Plain(1)})),
        (Sequence((Constant(1),), open=True), Assumed("x")),
    ],
)
def test_what_is_only_partly_known(value, recipe):
    written = recipe_of(value, "x")
    assert written == recipe or (recipe == Assumed("x") and "Assumed" in repr(written))


def test_a_wanted_option_gives_its_name_where_there_is_no_other():
    assert recipe_of(Wanted(name="width"), "") == Assumed("width")
