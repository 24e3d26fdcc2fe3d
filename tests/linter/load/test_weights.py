"""Models do without weights that would have to be fetched."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
from torch import nn
from torch.utils import model_zoo

from nnlint.linter.load import standin, weights


@pytest.fixture(autouse=True)
def absent():
    with weights.absent():
        yield


@pytest.mark.parametrize(
    "fetch",
    [
        lambda: torch.hub.load_state_dict_from_url("https://nowhere.invalid/a.pth"),
        lambda: model_zoo.load_url("https://nowhere.invalid/a.pth", progress=False),
        lambda: torch.load("nowhere.pth", map_location="cpu"),
        lambda: torch.load("nowhere.pth")["state_dict"],
    ],
)
def test_weights_that_are_not_there(fetch):
    net = nn.Linear(2, 2)
    before = net.weight.clone()
    found = fetch()
    net.load_state_dict(found)
    own = net.state_dict()
    own.update({name: value for name, value in found.items() if name in own})
    del found["fc.weight"]
    net.load_state_dict(own)
    assert torch.equal(net.weight, before)


def test_weights_that_are_there(tmp_path):
    path = tmp_path / "a.pth"
    with path.open("wb") as file:
        torch.save({"x": torch.ones(2)}, file)
    assert torch.load(path)["x"].sum() == 2


@pytest.mark.parametrize(
    "save", [lambda path: torch.save({}, path), lambda path: torch.jit.save(None, path)]
)
def test_nothing_is_saved_to_disk(tmp_path, save):
    with pytest.raises(PermissionError, match="nnlint writes no file"):
        save(tmp_path / "a.pth")
    assert not list(tmp_path.iterdir())


def test_what_waits_for_its_weights_gets_some():
    net = nn.Linear(2, 2)
    net.weight.data.fill_(float("nan"))
    net.load_state_dict(weights.Weights())
    assert net.weight.isfinite().all()


def test_who_cannot_do_without_them_is_told_so():
    def copy_all(found):
        return list(found)[0]  # noqa: RUF015 - as files do it

    with pytest.raises(IndexError) as caught:
        copy_all(torch.load("nowhere.pth"))
    assert standin.cause(caught.value) == standin.MISSING_WEIGHTS


@pytest.mark.parametrize("early", [True, False])
def test_a_library_that_puts_weights_into_its_models_puts_none(tmp_path, monkeypatch, early):
    package = tmp_path / "zoo"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "loading.py").write_text(
        "def put(model, url): raise OSError(url)\n"
        "def make(model):\n    put(model, 'https://nowhere.invalid')\n    return model\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    net = nn.Linear(2, 2)
    if early:
        importlib.import_module("zoo.loading")
    monkeypatch.setattr(weights, "_LOADERS", {"zoo.loading": ("put",)})
    with weights.absent():
        module = importlib.import_module("zoo.loading")
        assert module.make(net) is net
    for name in ("zoo", "zoo.loading"):
        monkeypatch.delitem(sys.modules, name)
