"""An attribute is another one for a while, and then the very same again."""

from __future__ import annotations

import types

import pytest

from nnlint.linter.replacing import replaced


class Base:
    @classmethod
    def make(cls) -> str:
        return cls.__name__


class Child(Base):
    pass


def _divide_while_replaced(owner: type[Base]) -> None:
    with replaced(owner, "make", lambda: "other"):
        assert owner.make() == "other"
        raise ZeroDivisionError


@pytest.mark.parametrize("owner", [Base, Child])
def test_a_class_is_as_before_even_after_an_error(owner: type[Base]) -> None:
    before = dict(vars(owner))
    with pytest.raises(ZeroDivisionError):
        _divide_while_replaced(owner)
    assert dict(vars(owner)) == before
    assert owner.make() == owner.__name__


def test_a_module_is_as_before() -> None:
    module = types.ModuleType("m")
    module.x = 1
    with replaced(module, "x", 2):
        assert module.x == 2
    assert module.x == 1


def test_what_is_not_there_cannot_be_replaced() -> None:
    with pytest.raises(AttributeError), replaced(Base, "nothing", 1):
        pass
