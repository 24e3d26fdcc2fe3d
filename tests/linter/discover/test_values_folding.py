"""Plain values in the abstract run: as Python computes them, or not known."""

from __future__ import annotations

import ast
import math
import time
import warnings

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nnlint.linter.discover import Source
from nnlint.linter.discover.flow import Interpreter
from nnlint.linter.discover.plain import plain
from nnlint.linter.discover.project import Project
from nnlint.linter.discover.targets import UNKNOWN

NUMBERS = st.one_of(
    st.integers(-9, 9),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.floats(-100, 100, width=16),
).map(repr)
TEXTS = st.text("ab{}%,: x", max_size=6).map(repr)
ATOMS = st.one_of(NUMBERS, TEXTS, st.just("None"))


def compound(inner):
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(
            inner,
            st.sampled_from(
                [
                    "+",
                    "-",
                    "*",
                    "/",
                    "//",
                    "%",
                    "**",
                    "==",
                    "!=",
                    "<",
                    "<=",
                    "in",
                    "is",
                    "and",
                    "or",
                    "<<",
                    "&",
                    "|",
                ]
            ),
            inner,
        ).map(lambda part: f"({part[0]} {part[1]} {part[2]})"),
        st.tuples(st.sampled_from(["-", "+", "not ", "~"]), inner).map("({0[0]}{0[1]})".format),
        st.tuples(inner, inner, inner).map("({0[0]} if {0[1]} else {0[2]})".format),
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({', '.join(parts)},)"),
        pair.map("{{{0[0]}: {0[1]}}}".format),
        pair.map("{0[0]}[{0[1]}]".format),
        st.tuples(inner, inner, inner).map("{0[0]}[{0[1]}:{0[2]}]".format),
        st.tuples(
            st.sampled_from(
                [
                    "len",
                    "max",
                    "min",
                    "sum",
                    "int",
                    "float",
                    "str",
                    "bool",
                    "list",
                    "tuple",
                    "sorted",
                    "abs",
                    "round",
                    "any",
                    "all",
                ]
            ),
            inner,
        ).map("{0[0]}({0[1]})".format),
        st.tuples(st.sampled_from(["range", "divmod", "max", "round", "pow"]), inner, inner).map(
            "{0[0]}({0[1]}, {0[2]})".format
        ),
        inner.map("[part for part in {}]".format),
        inner.map("[part for part in {} if part]".format),
        pair.map("[(a, b) for a, b in zip({0[0]}, {0[1]})]".format),
        # Not by a filter: hypothesis would describe the strategy, which is too long for that.
        pair.map("f'{{{0[0]}}}-{{{0[1]}}}'".format).map(
            lambda text: text if text.count("'") == 2 else "f''"
        ),
        st.tuples(inner, st.sampled_from(["upper()", "split(',')", "count('a')"])).map(
            "{0[0]}.{0[1]}".format
        ),
        pair.map("{0[0]}.replace('a', {0[1]})".format),
        pair.map("{0[0]}.format({0[1]})".format),
        pair.map("{0[0]}.join({0[1]})".format),
    )


EXPRESSIONS = st.recursive(ATOMS, compound, max_leaves=8)
FUNCTIONS = "len max min sum int float str bool list tuple sorted abs round any all range divmod"
ALLOWED = {name: __builtins__[name] for name in [*FUNCTIONS.split(), "pow", "zip"]}


def valued(text):
    """Return what an expression is in the abstract run."""
    project = Project()
    source = Source.parse("model.py", "")
    run = Interpreter(project.add(source), project)
    return plain(run.evaluate(ast.parse(text, mode="eval").body))


def affordable(text):
    # Python itself would not come to an end, or to a large one.
    return "**" not in text and "<<" not in text and "*" not in text and "pow" not in text


def same(left, right):
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return isinstance(right, dict) and same(list(left.items()), list(right.items()))
    return type(left) is type(right) and left == right


@given(EXPRESSIONS)
@example("(2 ** 10)")
@example("[3 * x for x in range(3)]")
@settings(max_examples=150, deadline=None)
def test_what_is_known_is_what_python_says(text):
    try:
        found = valued(text)
    except (SyntaxError, RecursionError):
        return
    if found is UNKNOWN or not affordable(text):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = eval(text, {"__builtins__": ALLOWED})  # noqa: S307 - literals of our own
        except Exception:  # noqa: BLE001 - what fails in Python may stand for anything
            return
    assert same(found, expected), text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 * 3 + 1", 7),
        ("7 // 2, 7 % 4, 2 ** 5, 7 / 2", (3, 3, 32, 3.5)),
        ("-(3 - 5)", 2),
        ("not 0", True),
        ("1 < 2 < 3", True),
        ("1 < 2 > 3", False),
        ("3 in [1, 2, 3]", True),
        ("'a' in {'a': 1}", True),
        ("None is None", True),
        ("[] is not None", True),
        ("0 or 5", 5),
        ("3 and 4", 4),
        ("1 if 2 > 1 else 0", 1),
        ("[1, 2] + [3]", [1, 2, 3]),
        ("[64, 128] * 2", [64, 128, 64, 128]),
        ("(1,) + (2,)", (1, 2)),
        ("[16 * 2 ** i for i in range(6)]", [16, 32, 64, 128, 256, 512]),
        ("[x for x in range(8) if x % 2]", [1, 3, 5, 7]),
        ("[a * b for a in (1, 2) for b in (3, 4)]", [3, 4, 6, 8]),
        ("{k: v * 2 for k, v in {'a': 1}.items()}", {"a": 2}),
        ("[(i, x) for i, x in enumerate('ab', 1)]", [(1, "a"), (2, "b")]),
        ("list(zip([1, 2], [3, 4]))", [(1, 3), (2, 4)]),
        ("list(map(int, '1,2,3'.split(',')))", [1, 2, 3]),
        ("list(map(lambda x: x + 1, [1, 2]))", [2, 3]),
        ("list(range(3)), list(reversed([1, 2]))", ([0, 1, 2], [2, 1])),
        ("sum([1, 2, 3]), max(1, 5), min([4, 2])", (6, 5, 2)),
        ("int('12'), float('1.5'), str(3), round(2.567, 1)", (12, 1.5, "3", 2.6)),
        ("tuple([1, 2]), list((1, 2)), sorted([3, 1])", ((1, 2), [1, 2], [1, 3])),
        ("[1, 2, 3, 4][1:3], (1, 2, 3)[::-1]", ([2, 3], (3, 2, 1))),
        ("[*range(2), *(5,)]", [0, 1, 5]),
        ("{**{'a': 1}, 'b': 2}", {"a": 1, "b": 2}),
        ("dict(a=1, b=2)['b']", 2),
        ("dict([('a', 1)])", {"a": 1}),
        ("f'layer{3}_{0.5:.2f}'", "layer3_0.50"),
        ("'{}-{x}'.format(1, x=2)", "1-2"),
        ("'%d_%s' % (3, 'a')", "3_a"),
        ("'A,b'.lower().split(',')[0]", "a"),
        ("len([1, 2]) + len('abc') + len({'a': 1})", 6),
        (
            "isinstance(3, int), isinstance([1], (list, tuple)), isinstance(1, str)",
            (True, True, False),
        ),
        ("any([0, 1]), all([0, 1])", (True, False)),
        ("getattr(3, 'real')", 3),
    ],
)
def test_known_values(text, value):
    found = valued(text)
    assert same(found, value), found


@pytest.mark.parametrize(
    "text",
    [
        "10 ** 10 ** 10",
        "10 ** 10 ** 10 ** 10",
        "2 ** 100000",
        "1 << 10 ** 9",
        "[0] * 10 ** 9",
        "'x' * 10 ** 9",
        "(0,) * 10 ** 30",
        "'%1000000000d' % 3",
        "'%*d' % (10 ** 9, 3)",
        "f'{3:1000000000}'",
        "'{:{}}'.format(3, 10 ** 9)",
        "'{:999999999}'.format(3)",
        "round(1, -(10 ** 12))",
        "pow(3, 10 ** 12)",
        "list(range(10 ** 12))",
        "sum(range(10 ** 12))",
        "0.5 in range(10 ** 12)",
        "len(range(10 ** 30))",
        "sorted(range(10 ** 9))",
        "[[[[0] * 200] * 200] * 200] * 200",
        "[x for x in range(10 ** 12)]",
        "[a for a in range(4000) for b in range(4000)]",
        "'a'.join(['b' * 4000] * 200).replace('b', 'c' * 4000)",
        "int('9' * 4000) * int('9' * 4000)",
        "1 / 0",
        "'a' + 1",
        "int('x')",
        "{}['a']",
        "unknown + 1",
        "len(unknown)",
        "[x for x in unknown]",
        "[*unknown, 1]",
        "{unknown: 1}",
        "[x for x in [1, 2] if unknown]",
        "f'{unknown}'",
    ],
)
def test_what_is_not_known_costs_little(text):
    start = time.process_time()
    found = valued(text)
    assert time.process_time() - start < 1
    assert not isinstance(found, int | float | str | bool | list)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("math.ceil(math.sqrt(10))", 4),
        ("np.prod([2, 3, 4])", 24),
        ("int(np.prod((3, 32, 32)))", 3072),
        ("math.prod([2, 3]), math.log2(8)", (6, 3.0)),
        ("int(np.ceil(2.1)), int(np.sqrt(16))", (3, 4)),
        ("os.path.join('a', 'b.yaml')", "a/b.yaml"),
        ("os.path.splitext('a.yaml')[0]", "a"),
        ("os.environ.get('WIDTH', 3)", 3),
        ("str(Path('a') / 'b')", "a/b"),
        ("Path('a/b.yaml').stem", "b"),
        ("OrderedDict([('a', 1)])['a']", 1),
        ("torch.cuda.is_available()", False),
    ],
)
def test_functions_of_the_library(text, value):
    head = (
        "import math, os, torch\nimport numpy as np\nfrom pathlib import Path\n"
        "from collections import OrderedDict\n"
    )
    project = Project()
    run = Interpreter(project.add(Source.parse("model.py", f"{head}value = {text}\n")), project)
    run.run()
    assert same(plain(run.lookup("value")), value)
