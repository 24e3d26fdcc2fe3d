"""Conditions on attributes of a model are decided on the live object, and nothing is run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlint.linter.discover.conditions import holds, negated

MODEL = SimpleNamespace(classes=10, kind="soft", head=SimpleNamespace(width=3), none=None, on=True)


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ("model.classes == 2", False),
        ("model.classes > 2", True),
        ("1 < model.classes <= 10", True),
        ("model.kind in ('soft', 'hard')", True),
        ("model.head.width != 3", False),
        ("model.none is None", True),
        ("model.on and not model.classes == 2", True),
        ("model.classes == -1 or model.on", True),
        ("model.missing", None),
        ("model.head", None),
        ("other.classes == 2", None),
        ("len(model.kind) == 4", None),
        ("model.kind > 3", None),
        ("model.classes ==", None),
    ],
)
def test_a_condition_holds_fails_or_is_left_open(condition: str, verdict: bool | None) -> None:
    assert holds(condition, MODEL) is verdict


def test_a_property_is_not_run() -> None:
    class Model:
        @property
        def classes(self) -> int:
            raise AssertionError("it was run")

    assert holds("model.classes == 2", Model()) is None


@pytest.mark.parametrize("condition", ["model.classes == 2", "model.on", "model.none is None"])
def test_a_negation_is_the_opposite_and_twice_is_none(condition: str) -> None:
    assert holds(negated(condition), MODEL) is not holds(condition, MODEL)
    assert holds(negated(negated(condition)), MODEL) is holds(condition, MODEL)


@given(st.text(max_size=40))
def test_no_text_makes_it_raise(text: str) -> None:
    assert holds(text, MODEL) in (True, False, None)
