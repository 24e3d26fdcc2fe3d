"""Options that programs declare, and objects that hold them."""

from __future__ import annotations

import textwrap

import pytest

from nnlint.linter.discover.recipes import Assumed, Called, Collected, Options, Plain

HEAD = """\
import argparse
import os
from types import SimpleNamespace
"""


def known(values):
    return tuple(map(Plain, values))


@pytest.mark.parametrize(
    ("declared", "name", "value"),
    [
        ('"--n-hid", type=int, default=8', "n_hid", 8),
        ('"-n", "--number", default=8', "number", 8),
        ('"-n", default=8', "n", 8),
        ('"--x", dest="width", default=8', "width", 8),
        ('"--rate", type=float, default="0.5"', "rate", 0.5),
        ('"--n", type=int, default="3"', "n", 3),
        ('"--fast", action="store_true"', "fast", False),
        ('"--slow", action="store_false"', "slow", True),
        ('"--kind", choices=["a", "b"]', "kind", "a"),
        ('"--path"', "path", None),
        ('"--path", type=str', "path", None),
        ('"--on", type=lambda x: x == "1", default="1"', "on", True),
        ('"--on", type=str2bool, default="false"', "on", False),
        ('"--home", default=os.environ.get("HOME_", "here")', "home", "here"),
    ],
)
def test_an_option_of_argparse(built, declared, name, value):
    text = f"""
{HEAD}
def str2bool(text):
    if text.lower() in ("yes", "true"):
        return True
    if text.lower() in ("no", "false"):
        return False
    raise ValueError

parser = argparse.ArgumentParser()
parser.add_argument({declared})
args = parser.parse_args()

def use(flag):
    Net(args.{name})
"""
    assert built(text).args == known([value])


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ('"--width", type=int', "width"),
        ('"width", type=int', "width"),
        ('"--data", required=True', "data"),
        ('"data"', "data"),
    ],
)
def test_an_option_that_only_the_user_knows(built, declared, name):
    text = f"""
import argparse
parser = argparse.ArgumentParser()
parser.add_argument({declared})
parser.add_argument("--depth", default=2)
args = parser.parse_args()

def use(flag):
    Net(args.{name}, args)
"""
    made = built(text)
    assert made.args == (Assumed(name), Options("", {"depth": Plain(2)}))


@pytest.mark.parametrize(
    "text",
    [
        """
        def parse():
            parser = argparse.ArgumentParser()
            parser.add_argument("--n", type=int, default=8)
            return parser.parse_args()
        def use(flag):
            args = parse()
            Net(args.n)
        """,
        """
        def add(parser):
            group = parser.add_argument_group("model")
            group.add_argument("--n", type=int, default=8)
            return parser
        def use(flag):
            args, _ = add(argparse.ArgumentParser()).parse_known_args()
            Net(args.n)
        """,
        """
        parent = argparse.ArgumentParser(add_help=False)
        parent.add_argument("--n", default=8)
        args = argparse.ArgumentParser(parents=[parent]).parse_args()
        def use(flag):
            Net(args.n)
        """,
        """
        parser = argparse.ArgumentParser()
        command = parser.add_subparsers().add_parser("train")
        command.add_argument("--n", default=1)
        parser.set_defaults(n=8)
        args = parser.parse_args()
        def use(flag):
            Net(args.n)
        """,
        """
        class Options(argparse.ArgumentParser):
            def __init__(self):
                super().__init__()
                self.add_argument("--n", default=8)
        def use(flag):
            Net(Options().parse_args().n)
        """,
        """
        class Options:
            def __init__(self):
                self.parser = argparse.ArgumentParser()
            def parse(self):
                self.parser.add_argument("--n", default=8)
                self.opt = self.parser.parse_args()
                return self.opt
        def use(flag):
            Net(Options().parse().n)
        """,
        """
        def train(args):
            Net(args.n)
        if __name__ == "__main__":
            parser = argparse.ArgumentParser()
            parser.add_argument("--n", default=8)
            args = parser.parse_args()
            train(args)
        """,
        """
        def use(rank, given):
            Net(given.n)
        def main():
            parser = argparse.ArgumentParser()
            parser.add_argument("--n", default=8)
            args = parser.parse_args()
            torch.multiprocessing.spawn(use, nprocs=2, args=(args,))
        """,
        """
        parser = argparse.ArgumentParser()
        parser.add_argument("--n", default=4)
        args = parser.parse_args()
        args.n = args.n * 2
        def use(flag):
            Net(args.n)
        """,
        """
        parser = argparse.ArgumentParser()
        parser.add_argument("--n", default=None, type=int)
        args = parser.parse_args()
        if args.n is None:
            args.n = 8
        def use(flag):
            Net(args.n)
        """,
        """
        parser = argparse.ArgumentParser()
        parser.add_argument("--n", default=8)
        args = parser.parse_args()
        if unknown:
            args.n = 4
        def use(flag):
            Net(vars(args)["n"])
        """,
        """
        parser = argparse.ArgumentParser()
        parser.add_argument("--n", default=8)
        args = parser.parse_args()
        def use(flag):
            Net(getattr(args, "n", 3) if hasattr(args, "n") else 2)
        """,
        """
        from optparse import OptionParser
        parser = OptionParser()
        parser.add_option("-n", "--n", type="int", default=8)
        (options, args) = parser.parse_args()
        def use(flag):
            Net(options.n)
        """,
        """
        from absl import flags
        FLAGS = flags.FLAGS
        flags.DEFINE_integer("n", 8, "how many")
        def use(flag):
            Net(FLAGS.n)
        """,
        """
        import click
        @click.command()
        @click.option("--n", default=8)
        def use(n):
            Net(n)
        """,
        """
        import typer
        def use(n: int = typer.Option(8, help="how many")):
            Net(n)
        """,
        """
        from transformers import HfArgumentParser
        from dataclasses import dataclass, field
        @dataclass
        class Arguments:
            n: int = field(default=8, metadata={})
        def use(flag):
            (args,) = HfArgumentParser((Arguments,)).parse_args_into_dataclasses()
            Net(args.n)
        """,
    ],
)
def test_ways_to_an_option(built, text):
    assert built(HEAD + textwrap.dedent(text)).args == (Plain(8),)


@pytest.mark.parametrize(
    "text",
    [
        "class C:\n    n = 4\n    m = n * 2\nc = C()\nvalue = c.m",
        "class C:\n    n = 4\n    m = n * 2\nvalue = C.m",
        "class C:\n    class inner:\n        n = 8\nvalue = C.inner.n",
        "class C:\n    def __init__(self, n=4):\n        self.n = n * 2\nvalue = C().n",
        "class C:\n    def __init__(self, **given):\n        self.__dict__.update(given)\nvalue = C(n=8).n",
        (
            "class C:\n    def __init__(self, **given):\n        for k, v in given.items():\n"
            "            setattr(self, k, v)\nvalue = C(a=1, b=2, c=3, d=4, n=8).n"
        ),
        "class C(dict):\n    def __getattr__(self, name):\n        return self[name]\nvalue = C(n=8).n",
        "class C(dict):\n    pass\nvalue = C({'a': {'n': 8}})['a'].n",
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    n: int = 8\nvalue = C().n",
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    n: int\nvalue = C(8).n",
        (
            "from dataclasses import dataclass, field\n@dataclass\nclass C:\n"
            "    n: list = field(default_factory=lambda: [8])\nvalue = C().n[0]"
        ),
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    n: int = 8\nvalue = dataclasses.asdict(C())['n']",
        "from collections import namedtuple\nC = namedtuple('C', 'm n')\nvalue = C(1, n=8).n",
        "from collections import namedtuple\nC = namedtuple('C', ['m', 'n'])\nvalue = C(1, 8)[1]",
        "from typing import NamedTuple\nclass C(NamedTuple):\n    n: int = 8\nvalue = C().n",
        "c = SimpleNamespace(n=8)\nvalue = c.n",
        "c = argparse.Namespace(**{'n': 8})\nvalue = c.n",
        "from easydict import EasyDict as edict\nc = edict({'a': {'n': 8}})\nvalue = c.a.n",
        "from easydict import EasyDict\nc = EasyDict()\nc.a = EasyDict()\nc.a.n = 8\nvalue = c['a'].n",
        "from yacs.config import CfgNode as CN\nc = CN()\nc.M = CN()\nc.M.n = 8\nvalue = c.clone().M.n",
        "from omegaconf import OmegaConf\nc = OmegaConf.create({'a': {'n': 8}})\nvalue = c.a.n",
        (
            "from omegaconf import OmegaConf\na = OmegaConf.create({'a': {'n': 1, 'm': 2}})\n"
            "b = OmegaConf.create({'a': {'n': 8}})\nvalue = OmegaConf.merge(a, b).a.n"
        ),
        "n = 8\nvalue = globals()['n']",
        "value = eval('[8]')[0]",
    ],
)
def test_objects_that_hold_options(built, text):
    assert built(f"{HEAD}{text}\ndef use(flag):\n    Net(value)\n").args == (Plain(8),)


def test_the_options_as_a_whole(built):
    text = f"""
{HEAD}
parser = argparse.ArgumentParser()
parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2])
parser.add_argument("--n", type=int)
args = parser.parse_args()
args.extra = SimpleNamespace(depth=3)

def use(flag):
    Net(args, **vars(args))
"""
    made = built(text)
    sizes = Collected("list", (Plain(1), Plain(2)))
    values = {"sizes": sizes, "extra": Options("extra", {"depth": Plain(3)})}
    assert made.args == (Options("", values),)
    assert made.kwargs["sizes"] == sizes
    assert made.kwargs["n"] == Assumed("n")


def test_an_object_of_the_project_is_made_by_its_class(built):
    made = built(
        "class C:\n    def __init__(self, n=1):\n        self.n = n\ndef use(x):\n    Net(C(n=3))\n"
    )
    (recipe,) = made.args
    assert isinstance(recipe, Called)
    assert recipe.callee.name == "C"
    assert recipe.kwargs == {"n": Plain(3)}


def test_a_dataclass_says_which_fields_it_needs(built):
    text = """
        from dataclasses import dataclass

        @dataclass
        class C:
            n: int
            depth: int = 2

        def use(flag):
            Net(C(unknown), C(n=1))
        """
    first, second = built(text).args
    assert first.kwargs == {"n": Assumed("n")}
    assert second.kwargs == {"n": Plain(1)}


def test_a_default_is_only_usual_where_it_chooses_a_loss(found):
    text = """
        import argparse
        import torch.nn as nn
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(2, 2)
            def forward(self, x):
                return self.fc(x)
        parser = argparse.ArgumentParser()
        parser.add_argument("--loss", default="ce")
        args = parser.parse_args()
        if args.loss == "ce":
            criterion = nn.CrossEntropyLoss()
        else:
            criterion = nn.NLLLoss()
        criterion(Net()(x), y)
        """
    uses = found(text)["Net"].uses
    assert {use.sink.rpartition(".")[2] for use in uses} == {"CrossEntropyLoss", "NLLLoss"}
    assert not any(use.certain for use in uses)
