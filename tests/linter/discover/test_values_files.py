"""Configuration files of a project, as far as the source tells which."""

from __future__ import annotations

import os

import pytest

from nnlint.linter.discover import configfiles
from nnlint.linter.discover.recipes import Options, Plain

LOADERS = {"json": "json.load", "toml": "tomllib.load", "yaml": "yaml.safe_load"}
NET = """\
import torch.nn as nn
class Net(nn.Module):
    def __init__(self, width, **options):
        super().__init__()
        self.fc = nn.Linear(width, 3)
    def forward(self, x):
        return self.fc(x)
"""


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (
            {"c.yaml": "model:\n  width: 8\n"},
            "import yaml\nc = yaml.safe_load(open('c.yaml'))\nNet(c['model']['width'])",
        ),
        (
            {"conf/c.yaml": "model: {width: 8}\n"},
            "import yaml\nwith open('conf/c.yaml') as f:\n    c = yaml.load(f, Loader=yaml.Loader)\nNet(**c['model'])",
        ),
        ({"c.json": '{"width": 8}'}, "import json\nc = json.load(open('c.json'))\nNet(c['width'])"),
        (
            {"c.json": '{"width": 8}'},
            "import json\nwith open('c.json') as f:\n    c = json.loads(f.read())\nNet(**c)",
        ),
        (
            {"c.toml": "width = 8\n"},
            "import tomllib\nc = tomllib.load(open('c.toml', 'rb'))\nNet(c['width'])",
        ),
        (
            {"c.yaml": "width: 8\n", "a.yaml": "width: 1\n"},
            (
                "import argparse, yaml\np = argparse.ArgumentParser()\np.add_argument('--c', default='c.yaml')\n"
                "args = p.parse_args()\nc = yaml.safe_load(open(args.c))\nNet(c['width'])"
            ),
        ),
        (
            {"configs/base.yaml": "width: 8\n", "configs/big.yaml": "width: 64\n"},
            (
                "import argparse, yaml\np = argparse.ArgumentParser()\np.add_argument('--c', required=True)\n"
                "args = p.parse_args()\nc = yaml.safe_load(open(args.c))\nNet(c['width'])"
            ),
        ),
        (
            {"c.yaml": "model: {width: 8}\n"},
            (
                "import os, yaml\nhere = os.path.dirname(os.path.abspath(__file__))\n"
                "c = yaml.safe_load(open(os.path.join(here, 'c.yaml')))\nNet(c['model']['width'])"
            ),
        ),
        (
            {"c.yaml": "model: {width: 8}\n"},
            "import yaml\nfrom pathlib import Path\nc = yaml.safe_load(Path('c.yaml').read_text())\nNet(c['model']['width'])",
        ),
        (
            {"c.yaml": "model: {width: 8}\n"},
            "from omegaconf import OmegaConf\nc = OmegaConf.load('c.yaml')\nNet(c.model.width)",
        ),
        (
            {"c.yaml": "MODEL: {WIDTH: 8}\n"},
            (
                "from yacs.config import CfgNode as CN\nc = CN()\nc.MODEL = CN()\nc.MODEL.WIDTH = 1\n"
                "c.merge_from_file('c.yaml')\nNet(c.MODEL.WIDTH)"
            ),
        ),
        (
            {"c.yaml": "model: {_target_: net.Net, width: 8}\n"},
            "import hydra\nfrom omegaconf import OmegaConf\nc = OmegaConf.load('c.yaml')\nhydra.utils.instantiate(c.model)",
        ),
        (
            {
                "conf/config.yaml": "defaults:\n  - model: small\n  - _self_\nseed: 1\n",
                "conf/model/small.yaml": "width: 8\n",
            },
            (
                "import hydra\n@hydra.main(config_path='conf', config_name='config')\n"
                "def main(cfg):\n    Net(cfg.model.width)\nmain()"
            ),
        ),
        (
            {"c.yaml": "width: !!python/object:x.Y {}\nother: 8\n"},
            "import yaml\nc = yaml.load(open('c.yaml'))\nNet(c['other'])",
        ),
    ],
)
def test_the_width_is_in_a_file(across, files, text):
    script = f"from net import Net\n{text}\n"
    target = across("net.py", {"net.py": NET, "main.py": script, "setup.py": "", **files})["Net"]
    made = target.constructions[0]
    assert (*made.args, *made.kwargs.values())[0] == Plain(8)


def test_the_whole_of_a_file_as_options(across):
    files = {
        "net.py": NET,
        "c.yaml": "width: 8\nsizes: [1, 2]\nwhen: 2020-01-01\n",
        "main.py": (
            "import yaml\nfrom argparse import Namespace\nfrom net import Net\n"
            "cfg = Namespace(**yaml.safe_load(open('c.yaml')))\nNet(cfg)\n"
        ),
    }
    (recipe,) = across("net.py", files)["Net"].constructions[0].args
    assert isinstance(recipe, Options)
    assert recipe.values["width"] == Plain(8)
    assert "when" not in recipe.values


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "a: [1\n"),
        ("c.yaml", "\x00"),
        ("c.yaml", "&a [" + "*a, " * 50 + "]"),
        (
            "c.yaml",
            (
                "a: &a [1,2,3,4,5,6,7,8,9]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n"
                "c: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n"
                "e: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n"
            ),
        ),
        ("c.yaml", "x: 1\n" * 50_000),
        ("c.json", "{" * 100_000),
        ("c.json", "[]"),
        ("c.toml", "a = \n"),
        ("c.yaml", "? [1, 2]\n: 3\n"),
    ],
)
def test_a_file_that_cannot_be_used_is_not_used(across, name, text):
    script = (
        "import yaml, json, tomllib\nfrom net import Net\n"
        f"c = {LOADERS[name[2:]]}"
        f"(open({name!r}))\nNet(c['width'])\n"
    )
    target = across("net.py", {"net.py": NET, "main.py": script, name: text})["Net"]
    assert target.constructions[0].assumes == 1


def test_nothing_outside_the_project_is_read(tmp_path):
    (tmp_path / "secret.yaml").write_text("width: 8\n")
    root = tmp_path / "project"
    root.mkdir()
    (root / "in.yaml").write_text("width: 8\n")
    (root / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    assert configfiles.find("in.yaml", root, root) == root / "in.yaml"
    for path in (
        "../secret.yaml",
        str(tmp_path / "secret.yaml"),
        "link.yaml",
        "no.yaml",
        "a\0b",
        "x" * 5000,
    ):
        assert configfiles.find(path, root, root) is None


def test_a_file_alone_has_no_configuration(found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("width: 8\n")
    text = NET + "import yaml\ndef use(x):\n    Net(yaml.safe_load(open('c.yaml'))['width'])\n"
    assert found(text)["Net"].constructions[0].assumes == 1


def test_a_changed_file_is_read_anew(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a: 1\n")
    assert configfiles.read(path) == {"a": 1}
    path.write_text("a: 2\n")
    os.utime(path, (1, 1))
    assert configfiles.read(path) == {"a": 2}
