"""A module runs what its names need, and nothing else."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing

import pytest

from nnlint.linter.load.importing import LeftOutError, left_out, module_of, require
from nnlint.linter.load.standin import StandIn

# What must not run: the process would end.
BOOM = "raise SystemExit('ran')\n"


def test_nothing_runs_until_a_name_is_wanted(imported):
    module = imported(f"import sys\n{BOOM}def f(): return 1\nraise KeyboardInterrupt\n")
    assert module.f() == 1
    with pytest.raises(AttributeError, match="has no attribute 'g'"):
        _ = module.g


def test_a_name_brings_what_it_needs_in_the_order_of_the_file(imported):
    module = imported(
        """
        order = []
        order.append("first")
        def base(x):
            order.append(x)
            return object
        unused = order.append("unused")
        class A(base("base")):
            width = order.append("body")
            def f(self, x=order.append("default")): return LATE
        LATE = len(order)
        """
    )
    assert module.A().f() == 4
    assert module.order == ["first", "base", "body", "default"]


def test_statements_run_once(imported):
    module = imported("runs = []\ndef f(): runs.append(1); return 1\nx = f()\ny = x\nz = x + y\n")
    assert (module.z, module.x, module.runs) == (2, 1, [1])


def test_a_global_is_found_when_a_function_reads_it(imported):
    module = imported("def f(name): return eval(name)\nwidth = 3\n")
    assert module.f("width") == 3
    with pytest.raises(NameError, match="name 'depth' is not defined"):
        module.f("depth")


def test_what_functions_read_is_there_before_they_are_called(imported):
    module = imported("def f(): return g()\ndef g(): return WIDTH\nWIDTH = 3\n")
    assert module.f is not None
    names = type(module).__mro__[1].__dict__["__dict__"].__get__(module)
    assert names["WIDTH"] == 3


def test_a_name_has_its_last_value_and_statements_in_between_the_one_of_then(imported):
    module = imported("n = 1\ndef f(): return n\nthen = f()\nn = 2\nn += 1\n")
    assert (module.then, module.n, module.f()) == (1, 3, 3)
    module = imported({"other.py": "n = 1\nthen = n\nn = 2\n"})
    assert (module.n, module.then) == (2, 1)


def test_a_later_change_counts_for_what_is_in_use(imported):
    module = imported(
        "base = {}\nconfig = base\nbase['width'] = 3\ndel base['width']\nbase['x'] = 1\n"
    )
    assert module.config == {"x": 1}


def test_options_get_all_their_arguments(imported):
    module = imported(
        """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--width", type=int, default="4")
        group = parser.add_argument_group("more")
        group.add_argument("--depth", default=2)
        args = parser.parse_args([])
        args.cuda = False
        class Net:
            width, depth = args.width, args.depth
        parser.add_argument("--late")
        """
    )
    assert (module.Net.width, module.Net.depth, module.args.cuda) == (4, 2, False)
    assert not hasattr(module.args, "late")


@pytest.mark.parametrize("wide", [True, False])
def test_conditions(imported, wide):
    text = f"""
    WIDE = {wide}
    if WIDE:
        print({BOOM!r})
        def f(): return "wide"
    elif 1 / 0:
        pass
    else:
        def f(): return "narrow"
    """
    assert imported(text).f() == ("wide" if wide else "narrow")


def test_a_name_that_no_condition_allows_comes_from_the_first_branch_that_binds_it(imported):
    module = imported(
        """
        kind = None
        if kind == "photo":
            raise ValueError
            channels = 3
        elif kind == "scan":
            channels = 1
            size = 8
        else:
            size = 4
        def f(): return channels, size
        def g(): return unknown
        """
    )
    assert module.f() == (3, 4)
    with pytest.raises(NameError):
        module.g()


def test_a_condition_that_cannot_be_told_is_false(imported):
    module = imported("if open('nowhere').read():\n    x = 1\nelse:\n    x = 2\n")
    assert module.x == 2


def test_the_main_block_is_the_last_resort(imported):
    module = imported(
        """
        width = 1
        def f(): return width, depth
        if __name__ == "__main__":
            width = 2
            depth = width + 1
            raise SystemExit
        """
    )
    assert module.f() == (1, 2)


@pytest.mark.parametrize(
    "text",
    [
        "import sys\ndef f(): return A\ntry:\n    from nowhere import A\nexcept ImportError:\n    A = 3\n",
        "def f():\n    try:\n        import nowhere\n    except Exception:\n        return 3\n",
        """
        from contextlib import suppress
        A = 3
        with suppress(ImportError):
            from nowhere import A
        def f(): return A
        """,
    ],
)
def test_a_file_that_does_without_a_module_does_so(imported, text):
    assert imported(text).f() == 3


def test_a_module_that_a_file_insists_on_is_stood_in_for(imported):
    text = """
    try:
        import nowhere
    except ImportError:
        print("install it")
        raise SystemExit(1)
    """
    assert isinstance(imported(text).nowhere, StandIn)


def test_imports_of_other_files_run_what_is_imported(imported):
    module = imported(
        {
            "net.py": "from helper import make as do, width\nimport helper\nx = do()\ny = helper.depth\n",
            "helper.py": f"width = 2\n{BOOM}def make(): return width\ndepth = 5\n1 / 0\n",
        }
    )
    assert (module.x, module.y, module.width) == (2, 5, 2)


def test_everything_of_a_module(imported):
    module = imported(
        {
            "net.py": "from helper import *\nfrom more import *\nfrom math import *\ndef f(): return a, pi, sqrt(4), c\n",
            "helper.py": "a = 1\n_b = 2\nc = 4\n",
            "more.py": "__all__ = ['d']\n__all__ += ['c']\na = 5\nc = 6\nd = 7\n",
        }
    )
    assert module.f()[::3] == (1, 6)
    assert module.d == 7
    assert not hasattr(module, "_b")


def test_everything_of_what_is_not_installed_hides_no_built_in_name(imported):
    module = imported(
        """
        from nowhere import *
        class Base:
            def __init__(self): self.size = len([measure])
        class Net(Base):
            def __init__(self): super().__init__()
        """
    )
    assert module.Net().size == 1


def test_modules_that_import_one_another(imported):
    module = imported(
        {
            "a.py": "from b import Y, other\nclass X: pass\nclass Z(Y): pass\n",
            "b.py": "from a import X\nclass Y(X): pass\ndef other(): return X\n",
        }
    )
    assert [cls.__name__ for cls in module.Z.__mro__] == ["Z", "Y", "X", "object"]


@pytest.mark.parametrize("first", ["net.py", "pkg/one.py", "pkg/two.py"])
def test_parts_that_have_a_name_from_the_package_that_has_everything_of_them(imported, first):
    files = {
        "net.py": "from pkg import One, Two\nx = One.__base__, Two.__base__\n",
        "pkg/__init__.py": "from .base import *\nfrom .one import *\nfrom .two import *\n",
        "pkg/base.py": "class Base: pass\n",
        "pkg/one.py": "from pkg import Base\nclass One(Base): pass\nx = One.__base__,\n",
        "pkg/two.py": "from pkg import Base\nclass Two(Base): pass\nx = Two.__base__,\n",
    }
    module = imported({first: files.pop(first), **files})
    assert {base.__name__ for base in module.x} == {"Base"}


def test_packages_offer_their_parts(imported):
    module = imported(
        {
            "net.py": "import pkg\nfrom pkg import part, block\nimport pkg.deep.leaf as leaf\n"
            "x = pkg.part.x\ny = block()\nz = leaf.z\nw = pkg.NAME\n",
            "pkg/__init__.py": f"{BOOM}from .block import block\nfrom .part import *\n",
            "pkg/block.py": "def block(): return 2\n",
            "pkg/part.py": "x = 1\nNAME = 'part'\n",
            "pkg/deep/leaf.py": "z = 3\n",
        }
    )
    assert (module.x, module.y, module.z, module.w) == (1, 2, 3, "part")


def test_a_name_of_a_package_hides_its_part_of_that_name(imported):
    files = {
        "pkg/other.py": "import pkg.block\nfrom pkg import block\n",
        "pkg/__init__.py": "from .block import block\n",
        "pkg/block.py": "def block(): return 2\n",
    }
    assert imported(files).block() == 2


def test_a_module_s_own_getattr(imported):
    module = imported(
        "there = 1\ndef __getattr__(name):\n    if name == 'odd': return there\n    raise AttributeError(name)\n"
    )
    assert (module.odd, module.there) == (1, 1)
    assert not hasattr(module, "even")


@pytest.mark.parametrize(
    "listing", ["models.__dict__", "vars(models)", "{n: getattr(models, n) for n in dir(models)}"]
)
def test_a_list_of_models_by_name(imported, listing):
    module = imported(
        {
            "net.py": f"import models\nnames = {{n for n, v in {listing}.items() if n[0].islower() and callable(v)}}\n",
            "models/__init__.py": "from .small import *\nfrom .large import large\n",
            "models/small.py": f"def small(): pass\nclass Small: pass\n{BOOM}",
            "models/large.py": "def large(): pass\n",
        }
    )
    assert module.names == {"small", "large"}


def test_globals_by_name(imported):
    module = imported("def f(): return 3\nnet = globals()['f']()\n")
    assert module.net == 3


def test_a_module_s_own_name_hides_the_built_in_one(imported):
    module = imported("def f(): return sum(1)\ndef sum(x): return x + max\nmax = 4\n")
    assert module.f() == 5


def test_names_of_python_2(imported):
    assert imported("def f(): return list(xrange(2)), unicode(3)\n").f() == ([0, 1], "3")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("x = open('nowhere').read()", "FileNotFoundError"),
        ("x = input()", "it asks the user"),
        ("x = 1 / 0", "ZeroDivisionError"),
        ("x = exit()", "it ends the program"),
        ("import sys; x = sys.exit(1)", "it ends the program"),
        ("x = 0\nwhile x < 10: x += 1\ndel x\nwhile True: x = 3", "it is a loop without a bound"),
        ("import torch\nfor x in range(3): torch.zeros(1).backward()", "it trains"),
        ("from torch.utils.data import DataLoader\nx = DataLoader([1])", "it loads data"),
        (
            "from torch.utils.data import DataLoader as Loader\nx = list(Loader([1]))",
            "it loads data",
        ),
        ("import subprocess as s\nx = s.run(['true'])", "it starts programs"),
        ("import time\nx = time.sleep(9)", "it waits"),
        ("import nowhere\nx = int(nowhere.width)", "StandInError"),
    ],
)
def test_a_needed_statement_that_is_no_plain_one_leaves_a_stand_in(imported, statement, reason):
    module = imported(f"{statement}\nclass Net:\n    def f(self): return x\n")
    value = module.Net().f()
    assert isinstance(value, StandIn)
    assert reason in value._nnlint_origin.reason
    skipped = left_out(module)[-1]
    assert skipped.names == ("x",)
    assert (skipped.path, reason in skipped.reason) == ("net.py", True)


def test_long_work_is_given_up(imported, monkeypatch):
    limited = sys.modules["nnlint.linter.load.guard"].limited
    monkeypatch.setattr("nnlint.linter.load.guard.limited", lambda: limited(0.05))
    module = imported("def work():\n    while True: pass\nx = work()\nclass Net: x = x\n")
    assert isinstance(module.Net.x, StandIn)
    assert "takes longer" in left_out(module)[0].reason


def test_what_is_asked_for_itself_says_why_it_is_not_there(imported):
    module = imported("net = 1 / 0\nother = input()\nimport nowhere\n")
    with pytest.raises(ZeroDivisionError):
        require(module, "net")
    with pytest.raises(LeftOutError, match=r"line 2 of net.py is left out: it asks the user"):
        require(module, "other")
    assert isinstance(require(module, "nowhere"), StandIn)


def test_a_definition_that_fails_fails_each_time(imported):
    module = imported("class Net:\n    x = {}['y']\ndef f(): return Net\n")
    for _ in range(2):
        with pytest.raises(KeyError):
            _ = module.Net
        with pytest.raises(RuntimeError, match="KeyError: 'y'"):
            module.f()


def test_search_path_of_the_file(imported):
    module = imported(
        {
            "net.py": "import os, sys\nsys.path.append(os.path.join(os.path.dirname(__file__), 'lib-2'))\n"
            "from thing import x\n",
            "lib-2/thing.py": "x = 1\n",
        }
    )
    assert module.x == 1


def test_a_module_elsewhere_in_the_project(imported):
    module = imported(
        {
            "examples/net.py": "from wide.blocks import x\nfrom models.blocks import y\n",
            "python/wide/blocks.py": "x = 1\n",
            "examples/models/other.py": "",
            "python/models/blocks.py": "y = 2\n",
            "pyproject.toml": "",
        }
    )
    assert (module.x, module.y) == (1, 2)


def test_a_file_with_the_name_of_its_folder(imported):
    module = imported(
        {"model/model.py": "from model.layers import x\n", "model/layers.py": "x = 1\n"}
    )
    assert module.x == 1


def test_another_file_by_its_path(imported, tmp_path):
    module = imported({"net.py": "from pkg.part import x\n", "pkg/part.py": "x = []\n"})
    assert module_of(str(tmp_path / "pkg/part.py")).x is module.x
    assert module_of(str(tmp_path / "net.py")) is module


def test_python_s_own_tools(imported):
    module = imported(
        '''
        """About."""
        from __future__ import annotations
        from dataclasses import dataclass
        from typing import NamedTuple
        import pickle, enum

        @dataclass
        class Config:
            part: Part
            size: int = 3

        class Part(NamedTuple):
            x: int

        class Kind(enum.Enum):
            A = 1

        copied = pickle.loads(pickle.dumps(Config(Part(1))))
        '''
    )
    assert module.__doc__ == "About."
    assert module.copied == module.Config(module.Part(1))
    assert typing.get_type_hints(module.Config) == {"part": module.Part, "size": int}
    assert inspect.getsource(module.Part).startswith("class Part(NamedTuple)")
    assert [field.name for field in dataclasses.fields(module.Config)] == ["part", "size"]
    assert module.Kind["A"].value == 1
    assert inspect.getmodule(module.Config) is module


def test_lines_of_errors(imported):
    module = imported("\n\ndef f():\n    raise ValueError\n")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - it has no text
        module.f()
    assert caught.traceback[-1].lineno + 1 == 4
    assert str(caught.traceback[-1].path).endswith("net.py")
