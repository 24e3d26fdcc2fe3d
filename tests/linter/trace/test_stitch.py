"""Which of the uses of an output are stitched to the graph."""

from __future__ import annotations

from types import SimpleNamespace

from nnlint.linter.discover.targets import OutputUse
from nnlint.linter.findings import Location
from nnlint.linter.trace.stitch import happening

PLACE = Location("train.py", 3)


def use(sink: str, *conditions: str, certain: bool = True) -> OutputUse:
    return OutputUse(sink, PLACE, certain=certain, conditions=conditions)


def test_the_live_model_decides_which_loss_it_meets() -> None:
    uses = (use("bce", "model.classes == 2"), use("ce", "not (model.classes == 2)"), use("mse"))
    model = SimpleNamespace(classes=5)
    assert [each.sink for each in happening(uses, model)] == ["ce", "mse"]
    model.classes = 2
    assert [each.sink for each in happening(uses, model)] == ["bce", "mse"]


def test_what_the_live_model_leaves_open_is_not_certain() -> None:
    (left,) = happening([use("ce", "model.missing")], SimpleNamespace())
    assert not left.certain
    (kept,) = happening([use("ce", "model.on", certain=False)], SimpleNamespace(on=True))
    assert not kept.certain
