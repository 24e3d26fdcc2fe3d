"""The rules about probes, on measurements made by hand: what they say, and when they are silent."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlint.linter.findings import Finding, Location, Outcome, Severity
from nnlint.linter.measured import Measured, MeasuredNode, MeasuredParameter, Units
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.rules.base import Category, ProbeRule, all_rules, rule_by_key
from nnlint.linter.rules.probe.trunk import trunk_of
from tests.probe.diagnose.made import (
    CLASS_LINE,
    INF,
    NAN,
    chain,
    off,
    operand,
    origin,
    parameter,
    site,
    with_node,
    with_parameter,
)

PROBE_RULES = [rule for rule in all_rules() if issubclass(rule, ProbeRule)]
HEALTHY = chain([1e-3, 2e-3, 3e-3, 1e-2])


def judge(rule: str, measured: Measured) -> list[Finding]:
    findings, _ = run_probe_rules(measured, [rule_by_key()[rule]])
    assert not [f for f in findings if f.code == "NNL002"], findings
    return list(findings)


def only(rule: str, measured: Measured) -> Finding:
    found = judge(rule, measured)
    assert len(found) == 1, found
    return found[0]


def reason(rule: str, measured: Measured) -> str:
    findings, checks = run_probe_rules(measured, [rule_by_key()[rule]])
    assert not findings
    assert checks[0].outcome is Outcome.NOT_CHECKED
    return checks[0].reason


# Every rule


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


# non-finite


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


# vanishing-gradient


def test_a_gradient_that_fades_from_layer_to_layer_is_reported_once() -> None:
    found = only("vanishing-gradient", chain([1e-9, 1e-7, 1e-5, 1e-3, 1e-1]))
    assert found.message == (
        "the gradient shrinks 1.0e8 times on its way back over 4 layers, from `fc4` to `fc0`"
    )
    assert found.modules == ("fc0", "fc1", "fc2")
    assert found.location.line == 10
    assert "kaiming" in found.help
    assert {place.role for place in found.related} >= {"built", "class", "evidence"}


def test_saturating_layers_are_judged_by_a_hundredth() -> None:
    gradients = [2e-5, 2e-4, 2e-3, 1e-2]
    assert judge("vanishing-gradient", chain(gradients)) == []
    found = only("vanishing-gradient", chain(gradients, between="sigmoid"))
    assert "in place of sigmoid" in found.help
    assert "gain=5 / 3" in only("vanishing-gradient", chain(gradients, between="tanh")).help


@pytest.mark.parametrize(
    "gradients",
    [
        pytest.param([1e-8, 1e-8, 1e-8, 1e-2], id="a small head"),
        pytest.param([1e-2, 1e-8, 1e-2, 1e-2], id="larger before than after"),
        pytest.param([4e-3, 1e-2, 1e-1, 1.0], id="AlexNet"),
        pytest.param([1e-30] * 5, id="small but even"),
        pytest.param([0.0, 0.0, 0.0, 1e-2], id="zero is another rule's"),
    ],
)
def test_gradients_that_do_not_fade_steadily_are_silent(gradients: list[float]) -> None:
    assert judge("vanishing-gradient", chain(gradients)) == []


def test_scale_before_a_norm_is_taken_into_account() -> None:
    gradients, sizes = [1e-7, 1e-5, 1e-3, 1e-1], [1e5, 1e3, 10.0, 1.0]
    normed = chain(gradients, activations=sizes, between="layer_norm relu")
    assert judge("vanishing-gradient", normed) == []
    assert judge("vanishing-gradient", chain(gradients, activations=sizes))


def test_a_fade_must_last_and_needs_three_steps() -> None:
    fading = chain([1e-9, 1e-7, 1e-5, 1e-3, 1e-1])
    recovering = fading
    for node in fading.nodes:
        recovering = with_node(recovering, node.index, gradient_rms=(*node.gradient_rms[:2], 0.1))
    assert judge("vanishing-gradient", recovering) == []
    assert "2 were made" in reason("vanishing-gradient", chain([1e-9, 1e-5, 1e-1], steps=2))


def test_a_residual_branch_may_have_a_small_gradient() -> None:
    # fc0 -> fc1 -> ... -> fc4, and fc0 goes around to a sum before fc4.
    fading = chain([1e-1, 1e-9, 1e-7, 1e-5, 1e-1])
    assert judge("vanishing-gradient", fading) == []  # fc0 itself is well
    small = chain([1e-9, 1e-9, 1e-7, 1e-5, 1e-1])
    assert judge("vanishing-gradient", small)
    skipped = with_node(small, 8, inputs=(7, 0))
    assert [layer.name for layer in trunk_of(skipped).layers] == ["fc0", "fc4"]
    assert judge("vanishing-gradient", skipped) == []


def test_layers_side_by_side_are_no_trunk() -> None:
    branched = with_node(with_node(HEALTHY, 4, inputs=(1,)), 6, inputs=(3, 5))
    assert [layer.name for layer in trunk_of(branched).layers] == ["fc0", "fc3"]


def test_a_layer_used_again_and_again_is_no_trunk() -> None:
    assert [layer.name for layer in trunk_of(HEALTHY).layers] == ["fc0", "fc1", "fc2", "fc3"]
    again = with_parameter(HEALTHY, "fc1.weight", nodes=(2, 4))
    assert [layer.name for layer in trunk_of(again).layers] == ["fc0", "fc2", "fc3"]


# exploding-gradient


def test_growth_forward_and_backward_is_reported() -> None:
    found = only(
        "exploding-gradient", chain([1e3, 1e2, 10.0, 1.0], activations=[1.0, 10.0, 1e2, 1e3])
    )
    assert found.message == (
        "the gradient grows 1,000 times on its way back from `fc3` to `fc0`, and outputs 1,000 "
        "times on the way there"
    )
    assert "clip_grad_norm_" in found.help
    assert found.modules == ("fc0", "fc1", "fc2")


def test_growth_in_every_measure_is_reported_and_in_one_alone_is_not() -> None:
    everywhere = chain([1e3, 1e2, 10.0, 1.0], between="batch_norm relu")
    assert judge("exploding-gradient", everywhere)
    outputs_alone = everywhere
    for name in ("fc0", "fc1", "fc2"):
        outputs_alone = with_parameter(outputs_alone, name, gradient_rms=(1.0,) * 3)
    assert judge("exploding-gradient", outputs_alone) == []


def test_a_single_calm_step_needs_a_larger_growth() -> None:
    sizes = [1.0, 1e3, 1e6]
    jumped: dict[str, Any] = {"activations": sizes, "losses": (2.3, 1e20, 1e20)}
    assert judge("exploding-gradient", chain([1e6, 1e3, 1.0], **jumped))
    assert "jumped" in reason("exploding-gradient", chain([1e3, 30.0, 1.0], **jumped))


def test_values_that_are_not_finite_at_once_are_left_to_non_finite() -> None:
    assert reason("exploding-gradient", chain([1.0, 1.0], losses=(INF, INF, INF)))


# dead-units and saturated-units


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


# no-gradient


def test_a_cut_is_named_at_its_line_with_all_layers_before_it() -> None:
    cut = with_node(chain([1e-3] * 3, between="relu detach"), 5, operator="aten.detach.default")
    for name in ("fc0", "fc1"):
        cut = with_parameter(cut, name, gradient_rms=(None,) * 3, gradient_abs_max=(None,) * 3)
    cut = with_node(cut, 2, operator="aten.dropout.default")
    found = only("no-gradient", cut)
    assert found.severity is Severity.WARNING
    assert found.message == (
        "`fc0` and `fc1` get no gradient (8,320 parameters): `detach` cuts it off"
    )
    assert found.location.line == 31
    assert found.modules == ("fc0", "fc1")


def none(measured: Measured, name: str) -> Measured:
    return with_parameter(measured, name, gradient_rms=(None,) * 3, gradient_abs_max=(None,) * 3)


def test_a_parameter_that_is_never_used_is_a_note() -> None:
    spare = parameter("spare7.weight", (3, 3), None)
    found = only(
        "no-gradient", dataclasses.replace(HEALTHY, parameters=(*HEALTHY.parameters, spare))
    )
    assert found.severity is Severity.NOTE
    assert "`spare7.weight` is never used (9 parameters)" in found.message


def test_no_grad_is_a_warning_for_a_layer_and_a_note_for_a_whole_part() -> None:
    frozen = with_node(none(HEALTHY, "fc0"), 0, grad=False)
    found = only("no-gradient", frozen)
    assert found.severity is Severity.WARNING
    assert "torch.no_grad()" in found.message
    renamed = tuple(
        dataclasses.replace(p, name=f"teacher.{p.name}") if p.name.startswith("fc0") else p
        for p in frozen.parameters
    )
    part = dataclasses.replace(frozen, parameters=renamed)
    assert only("no-gradient", part).severity is Severity.NOTE


def test_an_output_without_a_loss_is_a_note_and_a_lost_result_a_warning() -> None:
    extra = MeasuredNode(8, "aten.linear.default", site("aux", 20), (5,), (8,), shape=(16, 3))
    aux = parameter("aux.weight", (3, 64), None, 8)
    measured = dataclasses.replace(
        HEALTHY, nodes=(*HEALTHY.nodes, extra), parameters=(*HEALTHY.parameters, aux)
    )
    lost = only("no-gradient", measured)
    assert (lost.severity, "its result is not used" in lost.message) == (Severity.WARNING, True)
    returned = only("no-gradient", dataclasses.replace(measured, outputs=(6, 8)))
    assert (returned.severity, "the loss does not use" in returned.message) == (Severity.NOTE, True)


def test_a_gradient_of_zero_at_every_step_is_reported_and_at_the_first_alone_is_not() -> None:
    zero = with_parameter(HEALTHY, "fc1", gradient_rms=(0.0,) * 3, gradient_abs_max=(0.0,) * 3)
    found = only("no-gradient", zero)
    assert "the gradient of `fc1` is exactly 0 at all 3 steps" in found.message
    later = with_parameter(HEALTHY, "fc1", gradient_rms=(0.0, 1e-9, 1e-9))
    assert judge("no-gradient", later) == []
    short = dataclasses.replace(zero, losses=(2.3, 2.3))
    assert "2 were sound" in reason("no-gradient", short)


def test_a_gradient_of_zero_behind_dead_units_says_so() -> None:
    dead = HEALTHY
    for name in ("fc0", "fc1"):
        dead = with_parameter(dead, name, gradient_rms=(0.0,) * 3, gradient_abs_max=(0.0,) * 3)
    found = only("no-gradient", dataclasses.replace(dead, units=(off(64, of=64, node=1),)))
    assert found.message == (
        "the gradient of `fc0` and `fc1` is exactly 0 at all 3 steps (8,320 parameters): no unit of "
        "`relu` fires"
    )


def test_a_bias_before_batch_norm_and_a_single_key_are_zero_by_arithmetic() -> None:
    normed = chain([1e-3] * 3, between="batch_norm relu")
    zero = {"gradient_rms": (0.0,) * 3, "gradient_abs_max": (0.0,) * 3}
    assert judge("no-gradient", with_parameter(normed, "fc0.bias", **zero)) == []
    assert judge("no-gradient", with_parameter(normed, "fc0.weight", **zero))
    single = with_node(HEALTHY, 1, operator="aten._softmax.default", shape=(16, 4, 1, 1))
    assert judge("no-gradient", with_parameter(single, "fc0", **zero)) == []


def test_a_loss_that_does_not_depend_on_the_model_is_told_once() -> None:
    zero = with_parameter(HEALTHY, "fc", gradient_rms=(0.0,) * 3, gradient_abs_max=(0.0,) * 3)
    found = only("no-gradient", zero)
    assert found.message == "the gradient of every parameter is exactly 0 at all 3 steps"


# parameters-unchanged and update-ratio


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
