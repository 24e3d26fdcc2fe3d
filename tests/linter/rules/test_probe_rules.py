"""The rules about probes, on measurements made by hand: what holds for every one of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlint.linter.experiments import (
    NAMES,
    Attempt,
    Experiments,
    InitialLoss,
    Inputs,
    InputStatistics,
    Isolation,
    Leak,
    LearningRateRange,
    Overfit,
    TrainEval,
)
from nnlint.linter.findings import Finding, Outcome
from nnlint.linter.measured import Measured, MeasuredNode, MeasuredParameter, Units
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.rules.base import Category, ProbeRule, all_rules, rule_by_key
from tests.probe.diagnose.judging import HEALTHY, WHOLE, judge
from tests.probe.diagnose.made import (
    CLASS_LINE,
    origin,
)

PROBE_RULES = [rule for rule in all_rules() if issubclass(rule, ProbeRule)]


def test_the_catalogue_of_probe_rules_is_complete() -> None:
    assert [rule.code for rule in PROBE_RULES] == [f"NNL{number}" for number in range(801, 815)]
    assert {rule.category for rule in PROBE_RULES} == {Category.PROBE}


def test_static_rules_name_probe_rules_that_exist() -> None:
    named = {rule.probe for rule in all_rules() if rule.probe}
    assert named <= {rule.name for rule in PROBE_RULES}


def test_rules_name_experiments_that_exist() -> None:
    assert {rule.experiment for rule in PROBE_RULES} <= set(NAMES)


@pytest.mark.parametrize("rule", PROBE_RULES, ids=lambda rule: rule.name)
def test_a_healthy_measurement_is_silent(rule: type[ProbeRule]) -> None:
    assert judge(rule.name, WHOLE) == []
    _, checks = run_probe_rules(WHOLE, [rule])
    assert checks[0].outcome is Outcome.PASSED, checks[0].reason


@pytest.mark.parametrize("rule", PROBE_RULES, ids=lambda rule: rule.name)
def test_nothing_measured_is_not_checked_and_no_crash(rule: type[ProbeRule]) -> None:
    empty = Measured("Net", CLASS_LINE, 0, (), (), (), experiments=Experiments(NAMES))
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
    _, checks = run_probe_rules(WHOLE, all_rules())
    assert [check.code for check in checks] == [rule.code for rule in PROBE_RULES]


def test_what_was_not_asked_for_is_not_judged() -> None:
    _, checks = run_probe_rules(HEALTHY, all_rules())
    asked = [rule.code for rule in PROBE_RULES if rule.experiment == "gradients"]
    assert [check.code for check in checks] == asked


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


_losses = st.lists(st.floats(), max_size=5).map(tuple)
_maybe = st.none() | st.floats()
_counts = st.integers(0, 300)
_statistics = st.builds(
    InputStatistics,
    name=st.sampled_from(["x", "target"]),
    target=st.booleans(),
    shape=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    dtype=st.sampled_from(["float32", "int64", "uint8"]),
    mean=st.floats(),
    standard_deviation=st.floats(),
    minimum=st.floats(),
    maximum=st.floats(),
    elements=_counts,
    nans=_counts,
    infinities=_counts,
    repeated_samples=_counts,
    labels=st.dictionaries(st.integers(-3, 12), _counts, max_size=4),
)


def _experiments() -> st.SearchStrategy[Experiments]:
    """Draw what experiments found, odd values among it."""
    return st.builds(
        Experiments,
        asked=st.just(NAMES),
        initial_loss=st.none()
        | st.builds(
            InitialLoss,
            losses=_losses,
            expected=_maybe,
            prior=_maybe,
            classes=_counts,
            doubled=_maybe,
        ),
        overfit=st.none()
        | st.builds(
            Overfit,
            samples=_counts,
            attempts=st.lists(
                st.builds(
                    Attempt,
                    learning_rate=st.floats(),
                    losses=st.lists(st.floats(), min_size=1, max_size=4).map(tuple),
                    reached=st.booleans(),
                ),
                min_size=1,
                max_size=3,
            ).map(tuple),
            floor=st.floats(allow_nan=False),
            steps=_counts,
        ),
        lr_range=st.none()
        | st.builds(
            LearningRateRange,
            learning_rates=_losses,
            losses=_losses,
            smoothed=_losses,
            steepest=_maybe,
            valley=_maybe,
            diverged=_maybe,
        ),
        isolation=st.none()
        | st.builds(
            Isolation,
            compared=_counts,
            leaks=st.lists(
                st.builds(
                    Leak,
                    output=st.integers(-1, 5),
                    samples=_counts,
                    change=st.floats(),
                    node=st.none() | st.integers(-1, 7),
                ),
                max_size=2,
            ).map(tuple),
            batch_statistics=st.booleans(),
        ),
        train_eval=st.none() | st.builds(TrainEval, train_losses=_losses, eval_losses=_losses),
        input=st.none()
        | st.builds(Inputs, tensors=st.lists(_statistics, max_size=3).map(tuple), samples=_counts),
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
        experiments=draw(_experiments()),
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
