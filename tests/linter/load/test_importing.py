"""A file is executed as the module that it is in its own project."""

from __future__ import annotations

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


def assert_clean(report, models=1):
    assert report.findings == ()
    assert [model.analysed for model in report.models] == [True] * models


@pytest.mark.parametrize("name", ["random", "torch", "types", "queue", "numpy", "model", "token"])
def test_a_file_hides_no_module_of_the_same_name(lint, name):
    check = f"""
import random, types, queue, torch, token, {name}
assert random.random() < 1 and types.ModuleType and queue.Queue and torch.zeros(1) is not None
assert __name__ != "__main__" and sys.modules[__name__].__dict__ is globals()
if {name!r} not in ("model",):
    assert {name}.__file__ != __file__
else:
    assert {name}.__file__ == __file__
"""
    assert_clean(lint({f"{name}.py": FILE + check}))


def test_names_of_the_module(lint, tmp_path):
    check = f"""
import inspect, linecache
assert __name__ == "net" and __file__ == {str(tmp_path / "net.py")!r}
assert sys.argv == ["net.py"]
assert not __package__
assert inspect.getsource(Net).startswith("class Net")
from dataclasses import dataclass
@dataclass
class Config:
    x: "int" = 1
assert Config().x == 1
"""
    assert_clean(lint(FILE + check))


def test_the_main_guard_is_not_run(lint):
    assert_clean(lint(f"{FILE}\nif __name__ == '__main__':\n    raise SystemExit\n"))


@pytest.mark.parametrize(
    "name", ["my-model.py", "01_net.py", "net.v2.py", "größe.py", "__main__.py"]
)
def test_odd_file_names(lint, name):
    assert_clean(lint({name: FILE}))


def test_relative_imports_in_a_package(lint):
    files = {
        "pkg/models/net.py": f"from . import blocks\nfrom ..util import width\nfrom pkg.util import width\n{HEAD}"
        + NET.replace("nn.Linear(4, 2)", "blocks.make(width)")
        + "\nassert __name__ == 'pkg.models.net'\n",
        "pkg/__init__.py": "",
        "pkg/util.py": "width = 4\n",
        "pkg/models/__init__.py": "from .net import Net\n",
        "pkg/models/blocks.py": "from torch import nn\ndef make(n): return nn.Linear(n, 2)\n",
    }
    assert_clean(lint(files))


def test_relative_imports_without_init_files(lint):
    files = {
        "models/net.py": f"from .blocks import make\nfrom .more.deep import x\n{FILE}",
        "models/blocks.py": "make = 1\n",
        "models/more/deep.py": "x = 1\n",
    }
    assert_clean(lint(files))


def test_a_package_whose_init_fails_is_done_without_it(lint):
    files = {
        "pkg/net.py": f"from .util import width\n{FILE}",
        "pkg/__init__.py": "import nowhere_to_be_found\n",
        "pkg/util.py": "width = 4\n",
    }
    assert_clean(lint(files))


def test_an_init_file_with_models(lint):
    files = {"pkg/__init__.py": f"from .util import width\n{FILE}", "pkg/util.py": "width = 4\n"}
    assert_clean(lint(files))


def test_a_package_with_the_name_of_a_standard_module(lint):
    files = {
        "random/net.py": f"from .util import width\nimport random\nrandom.random()\n{FILE}",
        "random/__init__.py": "",
        "random/util.py": "width = 4\n",
    }
    assert_clean(lint(files))


def test_the_file_is_executed_once(lint, tmp_path):
    files = {
        "net.py": f"open('count', 'a').write('x')\nimport helper\n{FILE}",
        "helper.py": "import net\n",
    }
    assert_clean(lint(files))
    assert (tmp_path / "count").read_text() == "x"


def test_siblings_and_the_project_root_are_importable(lint):
    files = {
        "src/net.py": f"import sibling, shared\n{FILE}",
        "src/sibling.py": "",
        "shared.py": "",
    }
    assert_clean(lint(files))


def test_a_sibling_hides_no_module_of_the_standard_library(lint):
    files = {"net.py": f"import wave, plistlib\nwave.open\n{FILE}", "wave.py": "raise SystemExit\n"}
    assert_clean(lint(files))


def test_a_file_that_deletes_itself(lint, tmp_path):
    report = lint(f"{FILE}\nos.remove(__file__)\n1 / 0\n")
    assert [finding.code for finding in report.findings] == ["NNL001"]
    assert not (tmp_path / "net.py").exists()
    assert report.sources["net.py"].startswith("import os")


def test_a_helper_that_changes_the_folder(lint, tmp_path):
    (tmp_path / "other").mkdir()
    report = lint(f"import os\nos.chdir('other')\n{FILE}\n1 / 0\n")
    assert report.findings[0].location.path == "net.py"


def test_nothing_is_written_next_to_the_file(lint, tmp_path):
    assert_clean(lint({"net.py": f"import helper\n{FILE}", "helper.py": ""}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["helper.py", "net.py"]


@pytest.mark.usefixtures("lint")
def test_the_text_counts_and_not_the_disk(tmp_path, pool):
    (tmp_path / "net.py").write_text("raise SystemExit")
    (tmp_path / "sibling.py").write_text("")
    text = f"{FILE}\nimport sibling\nimport inspect\nassert 'sibling' in inspect.getsource(sys.modules[__name__])\n"
    report = lint_paths(
        ["-"], LintSettings(), rules=[], stdin_text=text, stdin_filename="net.py", pool=pool
    )
    assert_clean(report)


@pytest.mark.usefixtures("lint")
def test_standard_input_without_a_name(pool):
    report = lint_paths(["-"], LintSettings(), rules=[], stdin_text=FILE, pool=pool)
    assert_clean(report)
    assert report.models[0].path == "<stdin>"
