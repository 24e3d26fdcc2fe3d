"""A file is executed as the module that it is in its own project."""

from __future__ import annotations

import textwrap

import pytest

from nnlint.linter.check import lint_paths
from nnlint.linter.settings import LintSettings

HEAD = "import os, sys, torch\nfrom torch import nn\n"
NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x)
"""
FILE = HEAD + NET


def checked(checks: str, *, top: str = "") -> str:
    """Return a file whose class needs a function that makes checks."""
    head = "class Net(nn.Module):\n"
    body = textwrap.indent(f"{checks}\n", "    ")
    return f"{HEAD}{top}\ndef check():\n{body}" + NET.replace(head, f"{head}    check()\n")


def assert_clean(report, models=1):
    assert report.findings == ()
    assert [model.analysed for model in report.models] == [True] * models


@pytest.mark.parametrize("name", ["random", "torch", "types", "queue", "numpy", "model", "token"])
def test_a_file_hides_no_module_of_the_same_name(lint, name):
    top = f"import random, types, queue, torch, token, {name}"
    checks = f"""
assert random.random() < 1 and types.ModuleType and queue.Queue and torch.zeros(1) is not None
assert __name__ != "__main__" and sys.modules[__name__].__dict__ is globals()
if {name!r} not in ("model",):
    assert {name}.__file__ != __file__
else:
    assert {name}.__file__ == __file__
"""
    assert_clean(lint({f"{name}.py": checked(checks, top=top)}))


def test_names_of_the_module(lint, tmp_path):
    checks = f"""
import inspect, linecache
assert __name__ == "net" and __file__ == {str(tmp_path / "net.py")!r}
assert sys.argv == ["net.py"]
assert not __package__
assert inspect.getsource(Helper).startswith("class Helper")
from dataclasses import dataclass
@dataclass
class Config:
    x: "int" = 1
assert Config().x == 1
"""
    assert_clean(lint(checked(checks, top="class Helper: pass")))


def test_the_main_guard_is_not_run(lint):
    assert_clean(lint(f"{FILE}\nif __name__ == '__main__':\n    raise SystemExit\n"))


@pytest.mark.parametrize(
    "name", ["my-model.py", "01_net.py", "net.v2.py", "größe.py", "__main__.py"]
)
def test_odd_file_names(lint, name):
    assert_clean(lint({name: FILE}))


def test_relative_imports_in_a_package(lint):
    files = {
        "pkg/models/net.py": checked(
            "assert __name__ == 'pkg.models.net'",
            top="from . import blocks\nfrom ..util import width\nfrom pkg.util import width as same",
        ).replace("nn.Linear(4, 2)", "blocks.make(width if width == same else None)"),
        "pkg/__init__.py": "",
        "pkg/util.py": "width = 4\n",
        "pkg/models/__init__.py": "from .net import Net\n",
        "pkg/models/blocks.py": "from torch import nn\ndef make(n): return nn.Linear(n, 2)\n",
    }
    assert_clean(lint(files))


def test_relative_imports_without_init_files(lint):
    files = {
        "models/net.py": checked(
            "assert make == x == 1", top="from .blocks import make\nfrom .more.deep import x"
        ),
        "models/blocks.py": "make = 1\n",
        "models/more/deep.py": "x = 1\n",
    }
    assert_clean(lint(files))


def test_a_package_whose_init_fails_is_done_without_it(lint):
    files = {
        "pkg/net.py": checked("assert width == 4", top="from .util import width"),
        "pkg/__init__.py": "raise ValueError\n",
        "pkg/util.py": "width = 4\n",
    }
    assert_clean(lint(files))


def test_an_init_file_with_models(lint):
    text = checked("assert width == 4", top="from .util import width")
    files = {"pkg/__init__.py": text, "pkg/util.py": "width = 4\n"}
    assert_clean(lint(files))


def test_a_package_with_the_name_of_a_standard_module(lint):
    files = {
        "random/net.py": checked(
            "assert random.random() < width", top="from .util import width\nimport random"
        ),
        "random/__init__.py": "",
        "random/util.py": "width = 4\n",
    }
    assert_clean(lint(files))


@pytest.mark.parametrize("name", ["net", "pkg.net"])
def test_there_is_one_module_of_the_file(lint, name):
    top = "import helper\nclass Part: pass"
    files = {
        "pkg/net.py": checked("assert helper.Part is Part", top=top),
        "helper.py": f"from {name} import Part\n",
    }
    assert_clean(lint(files, "pkg/net.py"))


def test_siblings_and_the_project_root_are_importable(lint):
    files = {
        "src/net.py": checked("assert sibling.x + shared.x == 3", top="import sibling, shared"),
        "src/sibling.py": "x = 1",
        "shared.py": "x = 2",
    }
    assert_clean(lint(files))


def test_a_sibling_hides_no_module_of_the_standard_library(lint):
    text = checked("wave.open", top="import wave, plistlib")
    files = {"net.py": text, "wave.py": "raise SystemExit\n"}
    assert_clean(lint(files))


def test_a_file_that_would_delete_itself(lint, tmp_path):
    report = lint(checked("os.remove(__file__)"))
    assert [finding.code for finding in report.findings] == ["NNL001"]
    assert "nnlint changes nothing on disk" in report.findings[0].message
    assert (tmp_path / "net.py").exists()


def test_a_helper_that_changes_the_folder(lint, tmp_path):
    (tmp_path / "other").mkdir()
    report = lint(checked("os.chdir('other'); 1 / 0"))
    assert report.findings[0].location.path == "net.py"


def test_nothing_is_written_next_to_the_file(lint, tmp_path):
    assert_clean(lint({"net.py": checked("helper", top="import helper"), "helper.py": ""}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["helper.py", "net.py"]


@pytest.mark.usefixtures("lint")
def test_the_text_counts_and_not_the_disk(tmp_path, pool):
    (tmp_path / "net.py").write_text("raise SystemExit")
    (tmp_path / "sibling.py").write_text("")
    text = checked(
        "assert 'sibling' in inspect.getsource(sys.modules[__name__])",
        top="import sibling, inspect",
    )
    report = lint_paths(
        ["-"], LintSettings(), rules=[], stdin_text=text, stdin_filename="net.py", pool=pool
    )
    assert_clean(report)


@pytest.mark.usefixtures("lint")
def test_standard_input_without_a_name(pool):
    report = lint_paths(["-"], LintSettings(), rules=[], stdin_text=FILE, pool=pool)
    assert_clean(report)
    assert report.models[0].path == "<stdin>"
