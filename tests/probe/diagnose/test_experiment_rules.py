"""The rules about experiments: what they find, what they leave alone, what they cannot check."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from nnlint.linter.experiments import (
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
from nnlint.linter.findings import Outcome, Severity
from nnlint.linter.measured import Measured, MeasuredNode
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.rules.base import ProbeRule, all_rules, rule_by_key
from tests.probe.diagnose.judging import HEALTHY, judge, only, reason
from tests.probe.diagnose.made import INF, NAN, chain

RULES = [
    rule for rule in all_rules() if issubclass(rule, ProbeRule) and rule.experiment != "gradients"
]


def measured(base: Measured = HEALTHY, **changes: Any) -> Measured:
    """Return a probe in which every experiment was asked for."""
    asked = tuple(rule.experiment for rule in RULES)
    given = {name: changes.pop(name) for name in list(changes) if hasattr(Experiments(), name)}
    found = Experiments(**{"asked": asked, **given})
    return dataclasses.replace(base, experiments=found, **changes)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_without_its_experiment_is_not_run_and_one_without_a_result_is_not_checked(
    rule: type[ProbeRule],
) -> None:
    assert run_probe_rules(HEALTHY, [rule]) == ((), ())
    given = {"data": "user", "optimizer_given": True}
    assert reason(rule.name, measured(**given)) == "the probe ended before it did"
    skipped = measured(**given, skipped={rule.experiment: "the batch has one sample"})
    assert reason(rule.name, skipped) == "the batch has one sample"


@pytest.mark.parametrize(
    ("start", "classes", "severity"),
    [
        (7.0, 10, Severity.WARNING),
        (21.0, 1000, Severity.WARNING),
        (2.1, 2, Severity.WARNING),
        (150.0, 50_000, Severity.WARNING),
        (3.5, 10, Severity.NOTE),
        (10.5, 1000, Severity.NOTE),
        (1.8, 2, Severity.NOTE),
    ],
)
def test_a_loss_that_begins_above_ln_c_is_found(
    start: float, classes: int, severity: Severity
) -> None:
    expected = math.log(classes)
    found = only(
        "initial-loss",
        measured(initial_loss=InitialLoss((start,) * 4, expected, f"ln {classes}")),
    )
    assert found.severity is severity
    assert found.message == (
        f"the loss begins at {start:.4g}; a model that knows nothing has {expected:.4g} "
        f"(ln {classes})"
    )
    assert found.evidence["expected"] == expected


@pytest.mark.parametrize(
    ("start", "classes"), [(2.9, 10), (0.05, 10), (8.0, 1000), (1.0, 2), (12.0, 50_000)]
)
def test_a_loss_near_ln_c_or_below_it_is_fine(start: float, classes: int) -> None:
    value = InitialLoss((start,), math.log(classes), f"ln {classes}", doubled=1.0)
    assert not judge("initial-loss", measured(initial_loss=value))


def test_a_summed_loss_is_a_note_even_where_theory_is_silent() -> None:
    value = InitialLoss((36.8,), reason="the loss is summed", doubled=2.01)
    found = only("initial-loss", measured(initial_loss=value))
    assert found.severity is Severity.NOTE
    assert "summed over the batch" in found.message


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (InitialLoss((4.0,), reason="mse_loss has no theory"), "mse_loss has no theory"),
        (InitialLoss((NAN,), 2.3, "ln 10"), "the loss is not finite"),
        (InitialLoss((), 2.3, "ln 10"), "the loss is not finite"),
    ],
)
def test_a_loss_that_cannot_be_compared_is_not_checked(value: InitialLoss, said: str) -> None:
    assert reason("initial-loss", measured(initial_loss=value)) == said


def overfit(*losses: float, reached: bool = False, floor: float = 0.0) -> Overfit:
    return Overfit(56, (Attempt(1e-3, losses, reached),), floor, 400)


@pytest.mark.parametrize(
    ("losses", "floor", "severity", "helped"),
    [
        ((2.3, 2.3, 2.3), 0.0, Severity.WARNING, "hardly changes"),
        ((2.3, 1.9, 1.46), 0.0, Severity.WARNING, "wrong loss"),
        ((2.3, INF, NAN), 0.0, Severity.WARNING, "hardly changes"),
        ((2.3, 1.0, 0.4), 0.0, Severity.NOTE, "more steps"),
        ((2.3, 1.5, 1.0), 0.9, Severity.NOTE, "more steps"),
    ],
)
def test_samples_that_are_not_learned_by_heart_are_told(
    losses: tuple[float, ...], floor: float, severity: Severity, helped: str
) -> None:
    found = only("cannot-overfit", measured(overfit=overfit(*losses, floor=floor)))
    assert found.severity is severity
    assert helped in found.help
    assert found.message.startswith("56 samples cannot be learned by heart: in ")


def test_one_attempt_that_reaches_the_floor_is_enough() -> None:
    attempts = (Attempt(1e-3, (2.3, INF), False), Attempt(1e-2, (2.3, 0.1), True))  # noqa: FBT003
    assert not judge("cannot-overfit", measured(overfit=Overfit(56, attempts)))


@pytest.mark.parametrize("losses", [(NAN, NAN), (INF,), ()])
def test_a_loss_that_is_not_finite_from_the_start_is_not_checked(losses: tuple[float, ...]) -> None:
    told = measured(overfit=overfit(*losses))
    assert "not finite before the first step" in reason("cannot-overfit", told)


def test_a_stand_in_for_a_loss_need_not_be_learnable() -> None:
    told = measured(overfit=overfit(2.3, 2.3), loss_known=False)
    assert reason("cannot-overfit", told) == "no loss was found"


def test_a_leak_is_found_at_the_operation_that_mixes_samples() -> None:
    leak = Isolation(1, (Leak(0, 15, 0.123, node=2),))
    found = only("batch-leak", measured(isolation=leak))
    assert found.severity is Severity.WARNING
    assert found.location.line == 11
    assert found.modules == ("fc1",)
    assert found.message == (
        "linear mixes samples: with another sample in the batch, the outputs of 15 others change "
        "by 12 % of their size"
    )


def test_leaks_by_one_operation_are_one_finding_and_an_unknown_one_is_at_the_model() -> None:
    leaks = (Leak(0, 3, 0.1, 2), Leak(1, 3, 2.0, 2), Leak(2, 3, 0.1), Leak(3, 1, 0.1, 99))
    found = judge("batch-leak", measured(isolation=Isolation(4, leaks)))
    assert [each.location.line for each in found] == [11, 5]
    assert "2 times of their size" in found[0].message


def test_independent_samples_pass_and_batch_statistics_are_not_judged() -> None:
    assert not judge("batch-leak", measured(isolation=Isolation(2)))
    assert not judge("batch-leak", measured(isolation=Isolation(2, batch_statistics=True)))
    mixing = Isolation(1, (Leak(0, 15, 0.1),), batch_statistics=True)
    assert "running statistics" in reason("batch-leak", measured(isolation=mixing))
    assert "each sample" in reason("batch-leak", measured(isolation=Isolation(0)))


def rates(**values: Any) -> LearningRateRange:
    return LearningRateRange((1e-7, 10.0), (2.3, 2.2), (2.3, 2.2), **values)


FOUND = rates(steepest=0.02, valley=0.01, diverged=0.9)


def named(rate: float, found: LearningRateRange = FOUND, **changes: Any) -> Measured:
    return measured(lr_range=found, learning_rate=rate, optimizer_given=True, **changes)


@pytest.mark.parametrize(
    ("rate", "severity", "said"),
    [
        (0.9, Severity.WARNING, "SGD at learning rate 0.9 is beyond 0.9, where the loss diverges"),
        (30.0, Severity.WARNING, "SGD at learning rate 30 is beyond 0.9, where the loss diverges"),
        (
            1e-5,
            Severity.NOTE,
            "SGD at learning rate 1e-05 is 1000 times below 0.01, where the loss falls",
        ),
    ],
)
def test_a_named_rate_outside_of_the_range_is_found(
    rate: float, severity: Severity, said: str
) -> None:
    found = only("learning-rate", named(rate))
    assert (found.severity, found.message) == (severity, said)
    assert found.help.startswith("try 0.01 or 0.02")


@pytest.mark.parametrize("rate", [0.8, 0.01, 1.1e-4, 0.0])
def test_a_named_rate_inside_of_the_range_is_fine(rate: float) -> None:
    assert not judge("learning-rate", named(rate))


def test_without_a_divergence_no_rate_is_too_large() -> None:
    assert not judge("learning-rate", named(1e3, rates(steepest=0.02, valley=0.01)))


def test_a_rate_that_nobody_named_or_that_cannot_be_compared_is_not_checked() -> None:
    assert "not given" in reason("learning-rate", measured(lr_range=FOUND, learning_rate=30.0))
    assert reason("learning-rate", named(30.0, loss_known=False)) == "no loss was found"
    assert "neither fell nor diverged" in reason("learning-rate", named(0.1, rates()))


def tensor(**values: Any) -> InputStatistics:
    usual: dict[str, Any] = {
        "name": "x",
        "target": False,
        "shape": (16, 64),
        "dtype": "float32",
        "mean": 0.0,
        "standard_deviation": 1.0,
        "minimum": -3.0,
        "maximum": 3.0,
        "elements": 4096,
    }
    return InputStatistics(**{**usual, **values})


def labels(counts: dict[int, int], **values: Any) -> InputStatistics:
    usual = {"name": "y", "target": True, "shape": (16,), "dtype": "int64", "elements": 64}
    return tensor(**{**usual, "labels": counts, "repeated_samples": 64, **values})


def data(*tensors: InputStatistics, base: Measured = HEALTHY) -> Measured:
    return measured(base, input=Inputs(tensors, 64), data="user")


PIXELS = {"mean": 120.0, "standard_deviation": 70.0, "minimum": 0.0, "maximum": 255.0}
BALANCED = labels({0: 30, 1: 34})


@pytest.mark.parametrize(
    ("each", "severity", "said"),
    [
        (tensor(nans=3), Severity.ERROR, "`x` has 3 NaN of 4,096 values"),
        (
            tensor(nans=1, infinities=2),
            Severity.ERROR,
            "`x` has 1 NaN and 2 inf of 4,096 values",
        ),
        (labels({}, dtype="float32", infinities=1), Severity.ERROR, "`y` has 1 inf of 64 values"),
        (
            tensor(**PIXELS),
            Severity.WARNING,
            "`x` is not normalised: from 0 to 255, mean 120, standard deviation 70",
        ),
        (tensor(minimum=0.5, maximum=0.5), Severity.WARNING, "`x` is 0.5 everywhere"),
        (labels({4: 64}), Severity.WARNING, "all 64 labels in `y` are 4"),
        (labels({4: 60, 1: 4}), Severity.NOTE, "94 % of the labels in `y` are 4"),
        (
            tensor(repeated_samples=8),
            Severity.NOTE,
            "8 of 64 samples of `x` are equal to another one",
        ),
        (
            tensor(repeated_samples=64),
            Severity.WARNING,
            "all 64 samples of `x` are equal to another one",
        ),
    ],
)
def test_what_is_wrong_with_a_batch_is_found(
    each: InputStatistics, severity: Severity, said: str
) -> None:
    found = only("input-scale", data(each))
    assert (found.severity, found.message) == (severity, said)
    assert found.help


@pytest.mark.parametrize(
    "tensors",
    [
        (tensor(), BALANCED),
        (tensor(mean=0.45, standard_deviation=0.27, minimum=0.0, maximum=1.0), BALANCED),
        (tensor(**PIXELS, dtype="int64"), BALANCED),
        (tensor(), tensor(name="mask", minimum=1.0, maximum=1.0, mean=1.0)),
        (tensor(), labels({0: 15}, elements=15)),
        (tensor(), labels({0: 4000, 1: 96}, elements=4096)),
        (tensor(), labels({0: 57, 1: 7})),
        (tensor(), tensor(name="y", target=True, **PIXELS)),
        (tensor(repeated_samples=4), BALANCED),
    ],
    ids=[
        "normalised",
        "images in [0, 1]",
        "token numbers",
        "a mask of ones",
        "few labels",
        "labels of pixels",
        "labels that are a little unbalanced",
        "a regression's target",
        "a few repeated samples",
    ],
)
def test_a_sound_batch_is_left_alone(tensors: tuple[InputStatistics, ...]) -> None:
    assert not judge("input-scale", data(*tensors))


@pytest.mark.parametrize("operator", ["div", "batch_norm", "sub"])
def test_a_model_that_scales_its_input_itself_is_left_alone(operator: str) -> None:
    scaled = MeasuredNode(0, f"aten.{operator}.Tensor")
    nodes = (
        scaled,
        *(
            dataclasses.replace(
                node, index=node.index + 1, inputs=tuple(i + 1 for i in node.inputs) or (0,)
            )
            for node in HEALTHY.nodes
        ),
    )
    base = dataclasses.replace(HEALTHY, nodes=nodes)
    assert not judge("input-scale", data(tensor(**PIXELS), base=base))
    flat = dataclasses.replace(scaled, operator="aten.view.default")
    raw = dataclasses.replace(base, nodes=(flat, *nodes[1:]))
    assert judge("input-scale", data(tensor(**PIXELS), base=raw))


def test_problems_of_one_severity_are_one_finding() -> None:
    found = judge("input-scale", data(tensor(**PIXELS), labels({4: 64}), tensor(name="z", nans=1)))
    assert [each.severity for each in found] == [Severity.ERROR, Severity.WARNING]
    assert found[1].message.count(";") == 1


def test_drawn_data_are_not_checked() -> None:
    told = measured(input=Inputs((tensor(**PIXELS),), 64))
    assert "drawn at random" in reason("input-scale", told)


def test_a_loss_that_jumps_in_evaluation_mode_is_found() -> None:
    found = only("train-eval-gap", measured(train_eval=TrainEval((2.3, 2.4), (9.0, 9.0))))
    assert found.severity is Severity.WARNING
    assert found.message == (
        "the loss of the same batch is 2.35 in training and 9 in evaluation mode"
    )


@pytest.mark.parametrize(
    "value",
    [
        TrainEval((2.3, 2.4), (2.3, 2.3)),
        TrainEval((2.3, 2.4), (0.4, 0.4)),
        TrainEval((2.3, 2.4), (3.3, 3.3)),
        TrainEval((0.1, 4.0, 0.2, 3.0), (8.0, 8.0)),
        TrainEval((-2.3, -2.4), (-2.0, -2.0)),
        TrainEval((0.0, 0.0), (0.0, 0.0)),
    ],
    ids=["equal", "lower", "a little higher", "wide spread", "negative", "zero"],
)
def test_a_loss_that_changes_little_in_evaluation_mode_is_fine(value: TrainEval) -> None:
    assert not judge("train-eval-gap", measured(train_eval=value))


@pytest.mark.parametrize(
    ("operators", "severity"),
    [
        ("relu dropout", Severity.WARNING),
        ("dropout randn_like", Severity.NOTE),
        ("relu", Severity.NOTE),
    ],
)
def test_a_loss_that_varies_in_evaluation_mode_is_told(operators: str, severity: Severity) -> None:
    base = chain([1e-3, 1e-3], between=operators)
    told = measured(base, train_eval=TrainEval((2.3, 2.4), (2.2, 2.5)))
    found = only("train-eval-gap", told)
    assert found.severity is severity
    assert found.message == "in evaluation mode the loss still varies, from 2.2 to 2.5"


@pytest.mark.parametrize("value", [TrainEval((NAN,), (2.0,)), TrainEval((2.0,), ())])
def test_modes_without_a_finite_loss_are_not_checked(value: TrainEval) -> None:
    assert "not finite" in reason("train-eval-gap", measured(train_eval=value))


def test_the_rules_pass_over_what_the_others_measured() -> None:
    _, checks = run_probe_rules(HEALTHY, [rule_by_key()["initial-loss"]])
    assert not checks
    told = measured(initial_loss=InitialLoss((2.3,), 2.3026, "ln 10"))
    _, checks = run_probe_rules(told, [rule_by_key()["initial-loss"]])
    assert [check.outcome for check in checks] == [Outcome.PASSED]
