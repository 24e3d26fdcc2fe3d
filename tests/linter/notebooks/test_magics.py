"""What is made of the cells that IPython takes."""

from __future__ import annotations

import ast

import pytest

from nnlint.linter.magics import to_python


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("%matplotlib inline\nx = 1", "pass\nx = 1"),
        ("!pip install torch\nx = 1", "pass\nx = 1"),
        ("if x:\n    !ls\n    y = 2", "if x:\n    pass\n    y = 2"),
        ("?net\nx = 1", "pass\nx = 1"),
        ("net.fc??\nx = 1", "pass\nx = 1"),
        ("files = !ls\nx = files", "files = None\nx = files"),
        ("a, b = %sql select\nx = 1", "a, b = None\nx = 1"),
        ("!pip install \\\n  torch\nx = 1", "pass\n\nx = 1"),
        ("files = !ls \\\n  -l\nx = 1", "files = None\n\nx = 1"),
        ("%time x = f()", "if 1: x = f()"),
        ("%time\nx = 1", "pass\nx = 1"),
        ("pip install torch\nx = 1", "pass # install torch\nx = 1"),
        ("mkdir data\n!pwd\nx = 1", "pass # data\npass\nx = 1"),
        ("%%time\nx = 1", "\nx = 1"),
        ("\n%%capture out\nx = 1", "\n\nx = 1"),
        ("%%time\n!ls\nx = 1", "\npass\nx = 1"),
        ("%%bash\npip install x\nls", "\n\n"),
        ("%%writefile net.py\nx = 1", "\n"),
        ("print 'x'\nfor", "\n"),
        ("", ""),
    ],
)
def test_what_is_no_python_is_neutral_and_lines_stay(cell: str, expected: str) -> None:
    assert to_python(cell) == expected
    ast.parse(expected)


@pytest.mark.parametrize(
    "cell",
    [
        "x = '''\n%matplotlib\n!ls\n'''",
        'x = """\nwhat?\n"""',
        "x = (7\n  % 2)",
        "x = 7 \\\n  % 2",
        "x = 7; x %= 2",
        "ls = 1\nls",
        "git = f(\n  'a')",
        "x = 'it''s' # what?\n# %%time\n# is this one?",
        "f = lambda s: s != '!'",
        "plt.show();",
        "await f()",
        "x = '\\\n%d' % 3",
    ],
)
def test_python_stays_as_it_is(cell: str) -> None:
    assert to_python(cell) == cell


@pytest.mark.parametrize(
    ("before", "opened"),
    [
        ("x = f(7\n", "  % 2)"),
        ("x = '''\n", "%d'''"),
        ("x = '# [( \\' \"'\n", None),
        ('x = "\\\\"\n', None),
        ("x = {'a': [1\n", "!= 2]}"),
    ],
)
def test_a_line_within_a_statement_is_not_taken_for_a_magic(
    before: str, opened: str | None
) -> None:
    # The magic makes the cell no Python, so that each of its lines is looked at.
    cell = f"%magic\n{before}{opened or '%magic'}"
    expected = f"pass\n{before}{opened or 'pass'}"
    assert to_python(cell) == expected


def test_a_cell_that_does_not_parse_stays_where_it_defines_a_class() -> None:
    cell = "class Net(nn.Module):\n    def forward(self, x)\n        return x"
    assert to_python(cell) == cell
