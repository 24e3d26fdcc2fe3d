"""The rules about probes, on measurements made by hand: what holds for every one of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlint.linter.findings import Finding, Outcome
from nnlint.linter.measured import Measured, MeasuredNode, MeasuredParameter, Units
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.rules.base import Category, ProbeRule, all_rules, rule_by_key
from tests.probe.diagnose.judging import HEALTHY, judge
from tests.probe.diagnose.made import (
    CLASS_LINE,
    origin,
)

PROBE_RULES = [rule for rule in all_rules() if issubclass(rule, ProbeRule)]


def test_the_catalogue_of_probe_rules_is_complete() -> None:
    numbers = [801, 802, 803, 804, 805, 806, 807, 810]
    assert [rule.code for rule in PROBE_RULES] == [f"NNL{number}" for number in numbers]
    assert {rule.category for rule in PROBE_RULES} == {Category.PROBE}


def test_static_rules_name_probe_rules_that_exist_or_are_to_come() -> None:
    to_come = {"batch-leak", "cannot-overfit", "initial-loss"}
    named = {rule.probe for rule in all_rules() if rule.probe}
    assert named <= to_come | {rule.name for rule in PROBE_RULES}


@pytest.mark.parametrize("rule", PROBE_RULES, ids=lambda rule: rule.name)
def test_a_healthy_measurement_is_silent(rule: type[ProbeRule]) -> None:
    given_rate = dataclasses.replace(HEALTHY, optimizer_given=True)
    assert judge(rule.name, given_rate) == []
    _, checks = run_probe_rules(given_rate, [rule])
    assert checks[0].outcome is Outcome.PASSED


@pytest.mark.parametrize("rule", PROBE_RULES, ids=lambda rule: rule.name)
def test_nothing_measured_is_not_checked_and_no_crash(rule: type[ProbeRule]) -> None:
    empty = Measured("Net", CLASS_LINE, 0, (), (), ())
    findings, checks = run_probe_rules(empty, [rule])
    assert findings == ()
    assert checks[0].outcome is Outcome.NOT_CHECKED
    assert checks[0].reason


def test_a_rule_that_crashes_is_reported_and_the_others_go_on() -> None:
    class Crashing(rule_by_key()["dead-units"]):  # type: ignore[misc]
        def judge(self, measured: Measured) -> Any:
            raise KeyError("oops")

    findings, checks = run_probe_rules(HEALTHY, [Crashing, rule_by_key()["no-gradient"]])
    assert [f.code for f in findings] == ["NNL002"]
    assert [c.outcome for c in checks] == [Outcome.NOT_CHECKED, Outcome.PASSED]


def test_rules_about_graphs_do_not_judge_a_probe() -> None:
    _, checks = run_probe_rules(HEALTHY, all_rules())
    assert [check.code for check in checks] == [rule.code for rule in PROBE_RULES]


_values = st.lists(
    st.one_of(st.none(), st.floats(width=32), st.just(0.0), st.just(1e-3)), max_size=4
).map(tuple)
_positions = st.lists(st.integers(-1, 6), max_size=3).map(tuple)
_operators = st.sampled_from(
    [
        "aten.linear.default",
        "aten.relu.default",
        "aten.sigmoid.default",
        "aten.add.Tensor",
        "odd",
        "aten.detach.default",
        "aten.batch_norm.default",
        "aten._softmax.default",
    ]
)


@st.composite
def _measurements(draw: st.DrawFn) -> Measured:
    """Draw measurements with missing, odd and contradicting parts."""
    nodes = tuple(
        MeasuredNode(
            index=index,
            operator=draw(_operators),
            inputs=tuple(i for i in draw(_positions) if i < index),
            parameters=draw(_positions),
            in_loss=draw(st.booleans()),
            shape=draw(st.one_of(st.none(), st.lists(st.integers(0, 3), max_size=3).map(tuple))),
            grad=draw(st.booleans()),
            activation_rms=draw(_values),
            gradient_rms=draw(_values),
        )
        for index in range(draw(st.integers(0, 6)))
    )
    parameters = tuple(
        MeasuredParameter(
            name=draw(st.sampled_from(["a.weight", "a.bias", "b", ""])),
            shape=draw(st.lists(st.integers(0, 3), max_size=3).map(tuple)),
            rms=draw(_values),
            gradient_rms=draw(_values),
            gradient_abs_max=draw(_values),
            update_ratio=draw(_values),
            nodes=draw(_positions),
        )
        for _ in range(draw(st.integers(0, 3)))
    )
    units = tuple(
        Units(
            draw(st.integers(-1, 7)),
            draw(st.integers(0, 4)),
            draw(st.integers(0, 512)),
            dead=draw(st.one_of(st.none(), _positions)),
            saturated=draw(st.one_of(st.none(), _positions)),
        )
        for _ in range(draw(st.integers(0, 2)))
    )
    phase = draw(st.sampled_from(["forward", "backward", "input", "step"]))
    origins = (origin(draw(st.integers(-1, 7)), phase, parameter=draw(st.integers(-1, 4))),)
    return Measured(
        "Net",
        CLASS_LINE,
        4,
        losses=tuple(draw(st.lists(st.floats(), max_size=4))),
        nodes=nodes,
        parameters=parameters,
        non_finite=draw(st.sampled_from([(), origins])),
        units=units,
        data=draw(st.sampled_from(["user", "random"])),
        optimizer_given=draw(st.booleans()),
        outputs=draw(_positions),
    )


@settings(max_examples=300, deadline=None)
@given(_measurements())
def test_no_measurement_crashes_a_rule(measured: Measured) -> None:
    findings, checks = run_probe_rules(measured, PROBE_RULES)
    assert not [f for f in findings if f.code == "NNL002"], [f.message for f in findings]
    assert len(checks) == len(PROBE_RULES)
    for finding in findings:
        assert Finding.from_dict(finding.to_dict()) == finding
        assert len(finding.message) < 250
        assert not finding.message.endswith(".")
