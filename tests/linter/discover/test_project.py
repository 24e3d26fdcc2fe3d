"""The files of a project, and what an import stands for."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from nnlint.linter.discover import Project, Source, discover
from nnlint.linter.discover.folders import Folders, root_of
from nnlint.linter.discover.importlines import imports
from nnlint.linter.discover.oldsyntax import parse_tolerantly
from nnlint.linter.discover.projects import Projects
from nnlint.linter.load.files import File


def tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    ("importer", "dotted", "file", "rest"),
    [
        ("main.py", "models.net.Net", "models/net.py", ("Net",)),
        ("main.py", "models", "models/__init__.py", ()),
        ("main.py", "models.Net", "models/__init__.py", ("Net",)),
        ("models/net.py", ".blocks.Block", "models/blocks.py", ("Block",)),
        ("models/net.py", ".", "models/__init__.py", ()),
        ("models/net.py", "..tools.loop", "tools/loop.py", ()),
        ("models/net.py", "blocks.Block", "models/blocks.py", ("Block",)),
        ("tools/loop.py", "models.net", "models/net.py", ()),
        ("lesson/one/main.py", "models", "lesson/one/models.py", ()),
        ("lesson/two/main.py", "models.net", "models/net.py", ()),
        ("main.py", "pkg.inner.x", "src/pkg/inner.py", ("x",)),
        ("main.py", "tools", "tools", ()),
    ],
)
def test_what_an_import_stands_for(tmp_path, importer, dotted, file, rest):
    tree(tmp_path, "main.py", "models/__init__.py", "models/net.py", "models/blocks.py")
    tree(tmp_path, "tools/loop.py", "src/pkg/__init__.py", "src/pkg/inner.py")
    tree(tmp_path, "lesson/one/main.py", "lesson/one/models.py", "lesson/two/main.py")
    tree(tmp_path, "lesson/two/models/other.py")
    folders = Folders(str(tmp_path))
    assert folders.find(str(tmp_path / importer), dotted) == (str(tmp_path / file), rest)


@pytest.mark.parametrize(
    "dotted", ["torch.nn", "os.path", "json", "numpy", "..", "....models", "typing", "models2"]
)
def test_what_is_not_of_the_project(tmp_path, dotted):
    tree(tmp_path, "main.py", "json.py", "torch/nn.py", "models/__init__.py")
    assert Folders(str(tmp_path)).find(str(tmp_path / "main.py"), dotted) is None


def test_folders_without_code_of_the_project_are_skipped(tmp_path):
    tree(tmp_path, "main.py", ".venv/lib/net.py", "env/pyvenv.cfg", "env/net.py", "build/net.py")
    assert list(Folders(str(tmp_path)).files) == [str(tmp_path / "main.py")]


@pytest.mark.parametrize("marker", ["pyproject.toml", "setup.py", "setup.cfg", ".git/HEAD"])
def test_a_marker_tells_the_root(tmp_path, marker):
    tree(tmp_path, marker, "src/pkg/__init__.py", "src/pkg/net.py")
    assert root_of(tmp_path / "src/pkg/net.py", [tmp_path / "src"]) == tmp_path


def test_without_a_marker_the_given_folder_is_the_root(tmp_path, monkeypatch):
    tree(tmp_path, "a/b/__init__.py", "a/b/net.py")
    file = tmp_path / "a/b/net.py"
    assert root_of(file, [tmp_path / "a/b", tmp_path / "a"]) == tmp_path / "a"
    assert root_of(file) == tmp_path / "a"
    monkeypatch.chdir(tmp_path)
    assert root_of(file) == tmp_path


def test_imports_are_read_from_the_text():
    text = """\
        import a, b.c as d
        from . import e
        from .f import g as h, i
        from j import (  # these
            k,
            l as m,
        )
        from n import *
        from o import p, \\
            q
        def late():
            from r.s import t
        module = importlib.import_module("u." + name)
        module = __import__(f"v.{name}")
        """
    assert set(imports(textwrap.dedent(text))) == {
        *("a", "b.c", ".", ".e", ".f", ".f.g", ".f.i", "j", "j.k", "j.l", "n"),
        *("o", "o.p", "o.q", "r.s", "r.s.t", "u.*", "v.*"),
    }


def test_importers_through_others_and_training_first(tmp_path):
    texts = {
        "net.py": "",
        "models/__init__.py": "from net import Net\n",
        "export.py": "from net import Net\n",
        "train.py": "import models\nloss.backward()\n",
        "main.py": "import train\n",
        "other.py": "import numpy\n",
    }
    tree(tmp_path, *texts)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    found = Project(tmp_path).importers(str(tmp_path / "net.py"))
    assert [str(Path(file).relative_to(tmp_path)) for file in found] == [
        "train.py",
        "export.py",
        "models/__init__.py",
        "main.py",
    ]


def test_nothing_of_a_project_is_executed(tmp_path):
    bomb = "raise SystemExit\nopen('trace', 'w')\n"
    (tmp_path / "main.py").write_text(f"from net import Net\n{bomb}Net()\n")
    (tmp_path / "net.py").write_text(f"import torch.nn as nn\nclass Net(nn.Linear): pass\n{bomb}")
    source = Source.parse(str(tmp_path / "net.py"), (tmp_path / "net.py").read_text())
    (target,) = discover(source, Project(tmp_path))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["main.py", "net.py"]
    assert target.required == ("in_features", "out_features")


@pytest.mark.parametrize(
    ("base", "text"),
    [
        ("import torch.nn as nn\nclass Base(nn.Module): pass\n", "from base import Base"),
        ("import torch.nn as nn\nclass Base(nn.Module): pass\n", "from base import *"),
        ("import torch.nn as nn\n", "from base import *\nBase = nn.Module"),
        ("import torch\nfrom torch import nn\n", "from base import *\nclass Base(nn.Module): pass"),
        ("from deep import Base\n", "from base import Base"),
        ("from deep import Base as Other\n", "import base\nBase = base.Other"),
        ("import deep\n", "from base import deep\nBase = deep.Base"),
    ],
)
def test_a_base_class_in_another_file(across, base, text):
    files = {
        "deep.py": "import torch.nn as nn\nclass Base(nn.Module): pass\n",
        "base.py": base,
        "net.py": f"{text}\nclass Net(Base):\n    def forward(self, x):\n        return x\n",
    }
    assert "Net" in across("net.py", files)


def test_a_base_class_of_an_installed_package_may_be_a_module(across):
    files = {
        "net.py": """\
            import collections
            import torch
            from zoo.models import Backbone

            class Net(Backbone):
                def forward(self, x, mask=None):
                    return super().forward(x)

            class Plan(Backbone):
                def run(self):
                    pass

            class Gradient(torch.autograd.Function):
                def forward(ctx, x):
                    return x

            class Queue(collections.UserList):
                def forward(self, steps):
                    return self[steps:]
            """
    }
    assert list(across("net.py", files)) == ["Net"]


def test_a_constructor_that_a_base_class_in_another_file_defines(across):
    files = {
        "base.py": """\
            import torch.nn as nn

            class Base(nn.Module):
                def __init__(self, width, depth=1):
                    super().__init__()
            """,
        "net.py": """\
            from base import Base

            class Net(Base):
                def forward(self, x):
                    return x
            """,
    }
    assert across("net.py", files)["Net"].required == ("width",)


SCRIPT = """\
import torch.nn as nn
from zoo import nets
from zoo.nets import Net as Model


class Trainer:
    def __init__(self, model):
        self.model = model

    def fit(self, x, y):
        nn.CrossEntropyLoss()(self.model(x), y).backward()


def main():
    Trainer(nets.Wide(8)).fit(x, y)
    Model(3)
"""
NETS = """\
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()

    def forward(self, x):
        return x


class Wide(Net):
    pass
"""


def test_a_script_without_models_has_those_that_it_builds(tmp_path):
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "nets.py").write_text(NETS)
    source = Source.parse(str(tmp_path / "main.py"), SCRIPT)
    project = Project(tmp_path)
    assert discover(source, project) == ()
    wide, model = discover(source, project, adopt=True)
    assert (wide.name, wide.class_name, wide.kind) == ("nets.Wide", "Wide", "class")
    assert (model.name, model.class_name) == ("Model", "Net")
    assert (wide.location.path, wide.location.line, wide.location.column) == (source.path, 15, 13)
    assert [use.sink for use in wide.uses] == ["torch.nn.CrossEntropyLoss"]
    assert wide.constructions[0].args[0].value == 8
    assert model.uses == ()


def test_files_are_named_as_the_user_names_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "nets.py").write_text(NETS)
    (tmp_path / "zoo" / "main.py").write_text(
        "import torch.nn as nn\nfrom nets import Net\nnn.MSELoss()(Net(1)(x), y)\n"
    )
    for given, shown in (("zoo/nets.py", "zoo/main.py"), ("./zoo/nets.py", "zoo/main.py")):
        project = Projects([File(given)], [given]).around(File(given))
        target = discover(Source.parse(given, NETS), project)[0]
        assert [use.location.path for use in target.uses] == [shown]
    path = str(tmp_path / "zoo/nets.py")
    project = Projects([File(path)], [path]).around(File(path))
    target = discover(Source.parse(path, NETS), project)[0]
    assert [use.location.path for use in target.uses] == [str(tmp_path / "zoo/main.py")]


def test_a_text_from_elsewhere_stands_for_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "main.py").write_text("")
    text = "import torch.nn as nn\nfrom nets import Net\nnn.MSELoss()(Net(1)(x), y)\n"
    files = [File("nets.py"), File("main.py", text=text)]
    project = Projects(files, ["nets.py", "-"]).around(files[0])
    assert len(discover(Source.parse("nets.py", NETS), project)[0].uses) == 1


def test_old_python_is_read_with_its_lines_in_place():
    text = textwrap.dedent("""\
        print "loss", loss
        print >>log, \\
            "more"
        if x <> 3: print x
        y = y.cuda(async=True)
        try:
        \tpass
        except (IOError, OSError), error:
                raise ValueError, `error`
        n = 10L + 0777
        """)
    source = parse_tolerantly("old.py", text)
    assert [node.lineno for node in source.tree.body] == [1, 2, 4, 5, 6, 10]
    assert source.tree.body[3].value.col_offset == 4
    with pytest.raises(SyntaxError):
        parse_tolerantly("bad.py", "def f(:\n")
