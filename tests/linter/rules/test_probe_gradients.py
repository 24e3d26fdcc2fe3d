"""The rules about gradients, on measurements made by hand: what they say, and when they are silent."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nnlint.linter.findings import Severity
from nnlint.linter.measured import Measured, MeasuredNode
from nnlint.linter.rules.probe.trunk import trunk_of
from tests.probe.diagnose.judging import HEALTHY, judge, only, reason
from tests.probe.diagnose.made import (
    INF,
    chain,
    off,
    parameter,
    site,
    with_node,
    with_parameter,
)


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
