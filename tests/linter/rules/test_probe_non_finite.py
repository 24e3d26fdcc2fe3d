"""non-finite, on measurements made by hand: what it says, and when it is silent."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nnlint.linter.findings import Severity
from tests.probe.diagnose.judging import HEALTHY, judge, only
from tests.probe.diagnose.made import (
    CLASS_LINE,
    NAN,
    operand,
    origin,
    with_node,
)


def test_log_of_zero_is_named_with_its_line_its_range_and_the_remedy() -> None:
    found = only(
        "non-finite",
        dataclasses.replace(
            with_node(HEALTHY, 1, operator="aten.log.default"),
            losses=(NAN,) * 3,
            non_finite=(origin(1, operands=(operand(0.0, 4.0),)),),
        ),
    )
    assert found.severity is Severity.ERROR
    assert found.message == "`log` gives infinity in 3 of 1,024 values: its operand reaches 0"
    assert found.location.line == 30
    assert "clamp" in found.help
    assert found.evidence["operands"][0]["minimum"] == 0.0
    assert found.evidence["phase"] == "forward"


@pytest.mark.parametrize(
    ("operator", "operands", "changes", "says", "remedy"),
    [
        ("log", [operand(-2.0, 4.0)], {"nans": 3, "infinities": 0}, "goes down to -2", "softplus"),
        ("div", [operand(0, 1), operand(0, 1)], {"nans": 1, "infinities": 0}, "0 / 0", "constant"),
        ("div", [operand(1, 2), operand(0, 1)], {}, "divisor reaches 0", "constant"),
        ("exp", [operand(-3, 90)], {}, "above 88.72", "subtract the maximum"),
        ("exp", [operand(0, 12, dtype="float16")], {}, "above 11.09", "subtract"),
        ("sqrt", [operand(-1, 2)], {"nans": 1}, "goes down to -1", "clamp"),
        ("rsqrt", [operand(0, 2)], {}, "reaches 0", "inside the root"),
        ("pow", [operand(-1, 2)], {"nans": 1}, "fractional power", "abs"),
        ("std", [operand(1, 1)], {"nans": 1}, "single value", "correction=0"),
        ("acos", [operand(-1.1, 1)], {"nans": 1}, "between -1.1 and 1", "clamp"),
        ("_softmax", [operand(0, 0, non_finite=4)], {"nans": 4}, "masked", "unmasked"),
        (
            "linear",
            [operand(-1e30, 1e30), operand(-1e10, 1e10), operand(0, 0, result=True)],
            {},
            "ends at 3.4e+38",
            "smaller",
        ),
        (
            "matmul",
            [operand(-300, 300, dtype="float16"), operand(0, 0, result=True, dtype="float16")],
            {},
            "float16 ends at 6.55e+04",
            "bfloat16",
        ),
    ],
)
def test_usual_causes_are_told_with_what_helps(
    operator: str, operands: list[Any], changes: dict[str, int], says: str, remedy: str
) -> None:
    measured = with_node(HEALTHY, 1, operator=f"aten.{operator}.default")
    found = only(
        "non-finite",
        dataclasses.replace(
            measured, non_finite=(origin(1, operands=tuple(operands), **changes),), losses=(NAN,)
        ),
    )
    assert says in found.message
    assert remedy in found.help


@pytest.mark.parametrize(
    ("operator", "remedy"),
    [("sqrt", "1e-8"), ("std", "constant"), ("div", "clamp"), ("where", "before"), ("mm", "clip")],
)
def test_a_gradient_that_is_not_finite_names_the_operation(operator: str, remedy: str) -> None:
    measured = with_node(HEALTHY, 1, operator=f"aten.{operator}.default")
    bad = origin(1, "backward", operands=(operand(0, 2),), nans=2, infinities=1)
    found = only("non-finite", dataclasses.replace(measured, non_finite=(bad,)))
    assert found.message.startswith(f"the gradient of `{operator}` is NaN in 3 of 1,024 values")
    assert remedy in found.help


def test_data_and_parameters_that_are_not_finite_are_told_apart() -> None:
    data = dataclasses.replace(
        HEALTHY, non_finite=(origin(None, "input", input="x", nans=3),), data="user", losses=(NAN,)
    )
    found = only("non-finite", data)
    assert found.message.startswith("`x` is not finite before the first operation")
    assert "isfinite" in found.help
    weight = dataclasses.replace(
        HEALTHY, non_finite=(origin(None, "input", parameter=0, nans=3),), losses=(NAN,)
    )
    found = only("non-finite", weight)
    assert "`fc0.weight`" in found.message
    assert found.location.line == 10


def test_a_step_that_overflows_names_optimiser_and_rate() -> None:
    bad = origin(None, "step", parameter=0, step=1)
    given_rate = dataclasses.replace(HEALTHY, non_finite=(bad,), optimizer_given=True)
    found = only("non-finite", given_rate)
    assert found.message.endswith("SGD at learning rate 0.01")
    assert "clip_grad_norm_" in found.help
    assert found.severity is Severity.ERROR


def test_the_first_origin_is_reported_and_what_follows_is_not() -> None:
    later, first = origin(4, step=2), origin(2, step=1)
    found = only("non-finite", dataclasses.replace(HEALTHY, non_finite=(later, first)))
    assert found.modules == ("fc1",)
    assert "at step 2" in found.message


def test_a_mask_of_infinity_that_does_no_harm_is_silent() -> None:
    mask = with_node(HEALTHY, 1, operator="aten.masked_fill.Scalar")
    assert judge("non-finite", dataclasses.replace(mask, non_finite=(origin(1),))) == []
    harmful = dataclasses.replace(mask, non_finite=(origin(1),), losses=(NAN,) * 3)
    assert judge("non-finite", harmful)


def test_an_overflow_after_the_loss_has_jumped_at_our_own_rate_is_a_note() -> None:
    late = origin(2, step=2, operands=(operand(-1e30, 1e30),))
    jumped = dataclasses.replace(HEALTHY, non_finite=(late,), losses=(2.3, 4e5, NAN))
    assert only("non-finite", jumped).severity is Severity.NOTE
    calm = dataclasses.replace(jumped, losses=(2.3, 2.4, 2.5))
    assert only("non-finite", calm).severity is Severity.WARNING
    given_rate = dataclasses.replace(jumped, optimizer_given=True)
    assert only("non-finite", given_rate).severity is Severity.ERROR


def test_a_loss_that_is_nan_without_a_known_origin_is_reported() -> None:
    found = only("non-finite", dataclasses.replace(HEALTHY, losses=(2.3, NAN, NAN)))
    assert found.message == "the loss is NaN at step 2"
    assert found.location == CLASS_LINE
