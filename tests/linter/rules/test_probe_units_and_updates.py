"""The rules about units and updates, on measurements made by hand: what they say, and when not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nnlint.linter.findings import Location, Severity
from nnlint.linter.measured import Measured
from tests.probe.diagnose.judging import HEALTHY, judge, only, reason
from tests.probe.diagnose.made import (
    chain,
    off,
    with_node,
    with_parameter,
)


def test_units_that_never_fire_are_reported_with_their_layer() -> None:
    found = only(
        "dead-units", dataclasses.replace(HEALTHY, units=(off(64, of=64, node=1),), data="user")
    )
    assert found.message == "64 of 64 units of `fc0` never fire after `relu` (256 samples)"
    assert found.modules == ("fc0",)
    assert found.location.line == 30
    assert Location("net.py", 110, 9, 110, 30) in [place.location for place in found.related]


@pytest.mark.parametrize(
    ("dead", "data", "expected"),
    [
        (32, "user", Severity.WARNING),
        (31, "user", Severity.NOTE),
        (7, "user", Severity.NOTE),
        (6, "user", None),
        (44, "random", Severity.WARNING),
        (43, "random", Severity.NOTE),
        (31, "random", None),
    ],
)
def test_the_share_decides_and_drawn_samples_need_more(
    dead: int, data: Any, expected: Severity | None
) -> None:
    measured = dataclasses.replace(HEALTHY, units=(off(dead, of=64, node=1),), data=data)
    found = judge("dead-units", measured)
    assert [f.severity for f in found] == ([expected] if expected else [])


def test_few_samples_and_a_jumped_loss_are_not_judged() -> None:
    few = dataclasses.replace(HEALTHY, units=(off(64, of=64, node=1, samples=48),))
    assert "48 were seen" in reason("dead-units", few)
    jumped = dataclasses.replace(
        HEALTHY, units=(off(64, of=64, node=1),), losses=(2.0, 100.0, 90.0)
    )
    assert "tenfold" in reason("dead-units", jumped)


def test_units_that_steer_a_gate_are_left_out() -> None:
    # relu -> linear -> sigmoid -> mul, as in squeeze-and-excitation.
    gate = with_node(HEALTHY, 3, operator="aten.sigmoid.default")
    gate = with_node(gate, 4, operator="aten.mul.Tensor", parameters=(), inputs=(3, 0))
    assert judge("dead-units", dataclasses.replace(gate, units=(off(64, of=64, node=1),))) == []
    sigmoid = off(64, of=64, node=3, saturated=True)
    assert judge("saturated-units", dataclasses.replace(gate, units=(sigmoid,))) == []


def test_saturated_units_are_reported_but_not_at_the_output() -> None:
    tanh = chain([1e-2] * 3, between="tanh")
    found = only(
        "saturated-units",
        dataclasses.replace(tanh, units=(off(60, of=64, node=1, saturated=True),)),
    )
    assert "60 of 64 units of `fc0` stay in the flat part of `tanh`" in found.message
    last = with_node(tanh, 4, operator="aten.sigmoid.default", parameters=())
    output = dataclasses.replace(last, units=(off(60, of=64, node=4, saturated=True),))
    assert judge("saturated-units", output) == []


def given_rate(measured: Measured, rate: float = 1e-5, **changes: Any) -> Measured:
    return dataclasses.replace(measured, optimizer_given=True, learning_rate=rate, **changes)


def test_a_parameter_that_stays_as_it_was_is_reported() -> None:
    stuck = given_rate(with_parameter(HEALTHY, "fc1", update_ratio=(0.0,) * 3))
    found = only("parameters-unchanged", dataclasses.replace(stuck, precision="bfloat16"))
    assert found.message == (
        "SGD at learning rate 1e-05 leaves `fc1.weight` and `fc1.bias` as they were (2 of 8 "
        "parameters): bfloat16 rounds the change away"
    )
    assert "autocast" in found.help
    moved_once = with_parameter(stuck, "fc1", update_ratio=(0.0, 1e-9, 0.0))
    assert judge("parameters-unchanged", moved_once) == []


def test_a_gradient_that_is_only_rounding_does_not_have_to_move_anything() -> None:
    stuck = given_rate(with_parameter(HEALTHY, "fc1.bias", update_ratio=(0.0,) * 3))
    assert judge("parameters-unchanged", stuck)
    tiny = with_parameter(stuck, "fc1.bias", gradient_rms=(1e-10,) * 3)
    assert judge("parameters-unchanged", tiny) == []


def test_without_the_users_own_rate_steps_are_not_judged() -> None:
    stuck = with_parameter(HEALTHY, "fc1", update_ratio=(0.0,) * 3)
    assert "not given" in reason("parameters-unchanged", stuck)
    assert "not given" in reason("update-ratio", stuck)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (2.0, Severity.WARNING),
        (0.3, Severity.NOTE),
        (0.09, None),
        (1e-3, None),
        (1.1e-4, None),
        (1e-5, Severity.NOTE),
        (0.0, None),
    ],
)
def test_the_size_of_steps_is_judged_relative_to_the_weights(
    ratio: float, expected: Severity | None
) -> None:
    measured = given_rate(with_parameter(HEALTHY, "fc", update_ratio=(ratio,) * 3))
    found = judge("update-ratio", measured)
    assert [f.severity for f in found] == ([expected] if expected else [])
    if found:
        assert ("lower" in found[0].help) == (ratio > 0.1)


def test_weights_that_start_at_zero_and_steps_without_a_loss_are_not_judged() -> None:
    fast = given_rate(with_parameter(HEALTHY, "fc", update_ratio=(2.0,) * 3))
    assert judge("update-ratio", with_parameter(fast, "fc", rms=(0.0, 1e-3, 1e-3))) == []
    assert "no loss" in reason("update-ratio", dataclasses.replace(fast, loss_known=False))
