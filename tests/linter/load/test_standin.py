"""What is not installed takes any harmless use, and says its name for any other."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nnlint.linter.load import standin


@pytest.fixture
def package():
    return standin.for_package("einops", "einops is not installed")


def test_harmless_uses(package):
    assert not package.flag
    assert list(package.items()) == []
    assert len(package) == 0
    assert package.__version__ > "2.0"
    assert package.__name__ == "einops"
    assert not isinstance(3, package.Layer)
    assert not issubclass(int, package.Layer)
    assert package.VERSION >= (1, 2)
    assert 3 not in package["key"]
    assert str(package.rearrange) == "<stand-in for einops.rearrange>"
    assert copy.deepcopy(package) is package
    assert (package.Layer | None) is not None
    assert isinstance(2 * package.size + 1 - package.size, standin.StandIn)
    package.level = 3
    assert package.level == 3
    with package.session(mode=1) as session:
        session.log("text", step=3)
    with pytest.raises(package.SomeError):
        raise package.SomeError


def test_a_decorator_hands_back_what_it_decorates(imported):
    module = imported(
        """
        import nowhere
        @nowhere.jit
        @nowhere.register("name", level=3)
        def f(): return 3
        @nowhere.register
        class Net: pass
        """
    )
    assert module.f() == 3
    assert isinstance(module.Net, type)


def test_a_class_that_derives_from_it_is_known(package):
    class Net(package.Layer, nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

    class Deeper(Net):
        pass

    assert standin.origin(Deeper) == "einops.Layer"
    assert standin.origin(nn.Linear) is None
    assert Deeper().fc.in_features == 2


def test_a_class_that_derives_from_it_alone(package):
    class Data(package.DataModule):
        def __init__(self, size):
            super().__init__(size, name="data")
            self.save_hyperparameters()
            self.size = size

    assert Data(3).size == 3


@pytest.mark.parametrize(
    "use",
    [
        lambda p: p.rearrange(torch.zeros(2), "a -> a"),
        lambda p: p.rearrange([torch.zeros(2)], "a -> a"),
        lambda p: p.rearrange("a -> a", x={"x": torch.zeros(2)}),
        lambda p: torch.zeros(2) + p.bias,
        lambda p: p.bias @ torch.zeros(2),
        lambda p: range(p.size),
        lambda p: float(p.size),
        lambda p: nn.Linear(p.size, 2),
        lambda p: nn.Sequential(p.Layer()),
        lambda p: torch.zeros(2, p.size),
    ],
)
def test_where_it_matters_it_is_named(package, use):
    with pytest.raises((RuntimeError, TypeError)) as caught:
        use(package)
    assert standin.describe(caught.value) == "einops"
    assert str(standin.cause(caught.value)).endswith(": einops is not installed")


def test_it_is_named_in_a_traced_forward(package):
    class Net(nn.Module):
        def forward(self, x):
            return package.rearrange(x, "a -> a")

    with pytest.raises(standin.StandInError, match=r"needs einops\.rearrange: einops is not"):
        torch.fx.symbolic_trace(Net())


def test_other_errors_have_no_stand_in():
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    assert standin.describe(caught.value) is None


def test_a_value_that_is_left_out_belongs_to_no_package():
    value = standin.for_value("width", "line 3 is left out")
    with pytest.raises(standin.StandInError, match="needs width: line 3 is left out") as caught:
        int(value)
    assert standin.describe(caught.value) is None


@pytest.mark.parametrize(
    "text",
    [
        "from collections import Mapping, OrderedDict\nx = isinstance(OrderedDict(), Mapping)\n",
        "import collections\nx = isinstance([], collections.Sequence)\n",
        "import numpy as np\nx = np.dtype(np.float) == np.float64 and np.product([2, 3]) == 6\n",
        "from torch._six import container_abcs, inf\nx = inf > 1 and bool(container_abcs.Mapping)\n",
        "import xml\nx = bool(xml.dom)\n",
    ],
)
def test_names_that_have_moved(imported, text):
    assert imported(text).x


@pytest.mark.parametrize(
    "text",
    [
        "from torch.nn import NoSuchLayer as x\n",
        "from torch.no_such_module import x\n",
        "import torch.no_such_module as x\n",
        "from .extension import x\n",
        "from pkg import x\n",
    ],
)
def test_names_that_are_not_there(imported, text):
    files = {"net.py": text, "pkg/part.py": ""}
    assert isinstance(imported(files).x, standin.StandIn)


def test_a_package_that_is_broken(imported, tmp_path, monkeypatch):
    place = tmp_path / "site-packages"
    place.mkdir()
    (place / "broken.py").write_text("import nowhere\n")
    (place / "worse.py").write_text("raise RuntimeError('no such operator')\n")
    text = "import broken\nfrom worse import x\ntry:\n    import worse\nexcept ImportError:\n    worse = 3\n"
    monkeypatch.syspath_prepend(str(place))
    module = imported(text)
    assert module.broken._nnlint_origin.reason == "nowhere is not installed"
    assert "RuntimeError: no such operator" in module.x._nnlint_origin.reason
    assert module.worse == 3


def test_an_installed_package_sees_no_stand_ins(imported, tmp_path, monkeypatch):
    place = tmp_path / "site-packages"
    place.mkdir()
    (place / "careful.py").write_text("try:\n    import nowhere\nexcept ImportError:\n    x = 3\n")
    monkeypatch.syspath_prepend(str(place))
    assert imported("import nowhere\nimport careful\nx = careful.x\n").x == 3


def test_a_dict_whose_methods_are_its_items():
    class Attributes(dict):
        def __init__(self, **values):
            super().__init__(values)
            self.__dict__ = self

    origin = standin.for_package("words", "words is not installed")

    def fail(options):
        raise TypeError(f"no number: {len(options)}")

    with pytest.raises(TypeError) as caught:
        fail(Attributes(values=3, words=origin))
    assert standin.cause(caught.value).name == "words"
