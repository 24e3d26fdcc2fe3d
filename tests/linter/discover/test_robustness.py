from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnlint.linter.discover import Source, discover
from nnlint.linter.discover.flow import Interpreter
from nnlint.linter.discover.project import Project
from nnlint.linter.discover.select import Selection

HEAD = """\
import torch
import torch.nn as nn
import torch.nn.functional as F
from functools import partial
class Net(nn.Module):
    def __init__(self, n=1):
        self.inner = nn.Linear(n, n)
    def forward(self, x, y=None):
        return self.inner(x)
model = Net()
x = out = model(z)
"""


def run(source):
    """Discover without the shortcuts for files that have no models."""
    project = Project()
    interpreter = Interpreter(project.add(source), project)
    interpreter.run()
    return Selection(interpreter).targets()


def some_files():
    library = Path(os.__file__).parent
    names = ["ast", "typing", "dataclasses", "functools", "enum", "inspect", "argparse", "tarfile"]
    spec = importlib.util.find_spec("torch")
    layers = Path(spec.origin).parent / "nn"
    return [
        *(library / f"{name}.py" for name in names),
        *sorted((library / "asyncio").glob("*.py"))[::3],
        *sorted(layers.rglob("*.py"))[::4],
    ]


@pytest.mark.parametrize("path", some_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_real_files_are_read_without_error(path):
    for target in run(Source.parse(str(path), path.read_text(encoding="utf-8"))):
        assert target.location.line >= 1


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "+".join(["x"] * 900),
        "x = x" + ".view(1)" * 900,
        "x = x" + "[0]" * 900,
        "x = " + "(" * 80 + "x" + ")" * 80,
        "x = " + "[" * 80 + "model(x)" + "]" * 80,
        "x = " + "-" * 900 + "x",
        "x = " + "lambda: " * 90 + "x",
        "x = " + "F.relu(" * 90 + "x" + ")" * 90,
        "x = (x, x)\n" * 600 + "if a:\n    x = (x, 1)\n",
        "model = nn.Sequential(model, nn.ReLU())\n" * 600 + "F.cross_entropy(model(x), y)",
        "model = partial(model, 1)\n" * 600 + "F.cross_entropy(model(x), y)",
        "x = F.relu(x)\n" * 600 + "F.cross_entropy(x, y)",
        "x = [x, x]\nx += x\n" * 300,
        "x = {1: x}\n" * 300,
        "if a:\n    x = 1\n" + "elif b:\n    x = model(x)\n" * 600,
        "".join("    " * depth + "if a:\n" for depth in range(90)) + "    " * 90 + "x = model(x)\n",
        "".join("    " * depth + "for i in (1, 2, 3, 4):\n" for depth in range(20))
        + "    " * 20
        + "F.cross_entropy(model(i), y)\n",
        "".join(f"def f{i}():\n    f{i + 1}()\n    f{i + 1}()\n" for i in range(60)) + "f0()\n",
        "def f(n):\n    return f(n)\nf(model)\n",
        "def f(n):\n    return g(n)\ndef g(n):\n    return f(n)\nF.cross_entropy(f(x), y)\n",
        "class A(nn.Module):\n    pass\n"
        + "".join(f"class A{i}(A{i - 1 if i else ''}):\n    pass\n" for i in range(200)),
        "x = [[a for a in b for b in c] for c in d]",
        "nonlocal x\nglobal y\nreturn x\nawait y\nyield z\nbreak\n",
        "def f(*, a, b=1, **c): nonlocal d\nf(*x, **y)\nf(a=1, *x)",
        "class Net(Net): pass\nclass Net(Net[0]): x: int\n",
        "a, *b = c = *d, e = x\n[f, (g, h)] = x\nx[0][1] = x.y.z = 3\ndel x",
        "model.inner = model\nmodel.inner.inner.inner(x)\n",
        "try:\n    x = 1\nexcept* E as e:\n    raise\nelse:\n    pass\nfinally:\n    x = 2",
        "match x:\n    case [a, {'b': c}] | d if e:\n        pass\n    case _:\n        x = 1\n",
        "x = 1 if 2 else 3 if 4 else 5\nx = 'é' f'{x!r:{y}}'\nF.mse_loss('é', model(x))",
        "x[::0]; x[1:2, ..., None]; (1, 2, 3)[::0]; {'a': 1}[[]]; {}[{}]; [][()]",
        "super()\nsuper().x()\nsuper(Net, model).forward(x)\ngetattr(x)\ngetattr(x, y, z)\ndict(x)",
        "partial()\nnn.Sequential(*x)\nnn.ModuleList()\nnn.DataParallel()\nF.cross_entropy()\nzip()",
        "@model\n@F.cross_entropy\ndef f(): yield\nmodel.eval(1, 2)\nmodel.train(mode=x)\n",
        "def __init__(): pass\nclass B:\n    def __init__(): pass\n    def f(): super().f()\nB().f()",
        "",
    ],
)
def test_odd_programs_are_read_without_error(text):
    try:
        source = Source.parse("model.py", HEAD + text)
    except RecursionError:
        pytest.skip("too deep for the parser of this Python")
    run(source)


ATOMS = [
    "x",
    "y",
    "model",
    "out",
    "Net",
    "F",
    "nn",
    "self",
    "f",
    "g",
    "1",
    "'a'",
    "None",
    "[]",
    "{}",
]
ATOMS += ["nn.CrossEntropyLoss()", "nn.Softmax(1)", "torch", "super()", "F.cross_entropy"]


def grow(inner):
    pair = st.tuples(inner, inner)
    return st.one_of(
        inner.map("{}.view".format),
        inner.map("{}.inner".format),
        pair.map(lambda p: f"{p[0]}({p[1]})"),
        pair.map(lambda p: f"{p[0]}(*{p[1]}, **{p[0]})"),
        pair.map(lambda p: f"F.cross_entropy({p[0]}, {p[1]})"),
        pair.map(lambda p: f"({p[0]}, {p[1]})"),
        pair.map(lambda p: f"({p[0]} or {p[1]})"),
        pair.map(lambda p: f"({p[0]} if {p[1]} else {p[0]})"),
        pair.map(lambda p: f"({p[0]} + {p[1]})"),
        pair.map(lambda p: f"{p[0]}[{p[1]}]"),
        pair.map(lambda p: f"[{p[0]} for x in {p[1]}]"),
        inner.map("(lambda x, *y: {})".format),
        inner.map("{{'a': {}}}".format),
    )


EXPRESSIONS = st.recursive(st.sampled_from(ATOMS), grow, max_leaves=8)


def statements(inner):
    block = st.lists(inner, min_size=1, max_size=3).map("\n".join)
    nested = st.tuples(
        st.sampled_from(
            [
                "if x:",
                "for x in out:",
                "while x:",
                "with torch.no_grad() as x:",
                "try:",
                "def f(x, y=out, *g):",
                "class Net(nn.Module):",
                "class Part(Net):",
                "async def g(model: Net):",
                "if __name__ == '__main__':",
            ]
        ),
        block,
    )
    return nested.map(_indented)


def _indented(parts):
    head, block = parts
    text = head + "\n" + "\n".join(f"    {line}" for line in block.splitlines())
    return text + ("\nexcept E:\n    x = 1" if head == "try:" else "")


SIMPLE = st.one_of(
    EXPRESSIONS,
    EXPRESSIONS.map("x = {}".format),
    EXPRESSIONS.map("x, y = {}".format),
    EXPRESSIONS.map("model.inner = {}".format),
    EXPRESSIONS.map("x += {}".format),
    EXPRESSIONS.map("return {}".format),
    st.sampled_from(["global x", "nonlocal x", "pass", "break", "continue", "raise x"]),
)
PROGRAMS = st.lists(st.recursive(SIMPLE, statements, max_leaves=6), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(PROGRAMS)
def test_generated_programs_are_read_without_error(program):
    try:
        source = Source.parse("model.py", HEAD + "\n".join(program))
    except SyntaxError:
        return
    for target in discover(source):
        assert target.name


def test_a_long_file_is_read_quickly():
    part = (
        "class Net{0}(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
        "        self.fc = nn.Linear(n, n)\n    def forward(self, x):\n"
        "        x = F.relu(self.fc(x))\n        return x.view(1)\n"
        "def train{0}(n):\n    model = Net{0}(n)\n    return F.cross_entropy(model(n), n)\n"
    )
    source = Source.parse("model.py", HEAD + "".join(part.format(i) for i in range(500)))
    start = time.process_time()
    targets = discover(source)
    assert time.process_time() - start < 1.5  # a quarter of a second, and room for slow machines
    assert len(targets) == 501
    assert sum(len(target.uses) for target in targets) == 500
