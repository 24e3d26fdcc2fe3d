"""What experiments found, as text, JSON and a printed report."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlint.cli.formats import RenderOptions, load_format
from nnlint.cli.formats.json import json_schema
from nnlint.cli.sparkline import sparkline
from nnlint.linter import experiments as kinds
from nnlint.linter.experiments import NAMES, Attempt, Experiments, Overfit
from nnlint.linter.findings import Report
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.rules.base import all_rules
from nnlint.linter.verdicts import verdicts
from tests.probe.client import made

HERE = Path(__file__).parent


def report(**changes: Any) -> Report:
    return Report(probes=(made.probed(measured=made.measured(**changes)),))


def text(experiments: Experiments, **options: Any) -> str:
    whole = report(experiments=experiments)
    return load_format("text").render(whole, RenderOptions(**options))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("text", {}),
        ("ascii", {"ascii": True, "width": 80}),
        ("color", {"color": True, "width": 120}),
    ],
)
def test_the_text_matches_its_golden_file(name: str, options: Any, golden: Any) -> None:
    shown = text(made.experiments(), **options)
    golden(HERE / "golden" / f"probe-experiments-{name}.txt", shown)
    if options.get("ascii"):
        assert all(line.isascii() for line in shown.splitlines() if "名前" not in line)


def test_the_json_matches_its_golden_file_and_the_schema(golden: Any) -> None:
    content = json.loads(
        load_format("json").render(report(experiments=made.experiments()), RenderOptions())
    )
    jsonschema.validate(content, json_schema())
    found = content["probes"][0]["experiments"]
    golden(HERE / "golden" / "probe-experiments.json", json.dumps(found, indent=2) + "\n")
    assert found["overfit"]["attempts"][0]["losses"] == [2.4, "nan"]
    assert found["clip"]["norms"][2] == "inf"
    assert found["input"]["tensors"][1]["labels"] == {"3": 40, "7": 24}
    assert found["train_eval"] is None


def test_histograms_are_in_the_json() -> None:
    counts = (tuple(range(64)),)
    nodes = tuple(
        dataclasses.replace(n, activation_histograms=counts) for n in made.measured().nodes
    )
    whole = report(nodes=nodes)
    content = json.loads(load_format("json").render(whole, RenderOptions()))
    jsonschema.validate(content, json_schema())
    operation = content["probes"][0]["operations"][0]
    assert operation["activation_histograms"] == [list(range(64))]
    assert operation["gradient_histograms"] == []


def test_every_kind_has_a_verdict_of_its_own() -> None:
    whole = made.experiments(train_eval=made.train_eval(), skipped={})
    told = list(verdicts(made.measured(experiments=whole)))
    assert [each.name for each in told] == [name for name in whole.asked if name != "gradients"]
    assert {each.name for each in told} == set(NAMES) - {"gradients"}
    assert all(each.text and not each.text.endswith(".") for each in told)
    assert not {"skipped", "no result"} & {each.label for each in told}


def test_every_kind_is_a_field_of_the_data() -> None:
    fields = {field.name for field in dataclasses.fields(Experiments)} - {"asked", "skipped"}
    assert {name.replace("-", "_") for name in NAMES} == fields | {"gradients"}


def test_without_gradients_there_is_no_table_and_no_optimiser() -> None:
    asked = Experiments(asked=("overfit",), overfit=made.experiments().overfit)
    whole = report(experiments=asked, losses=())
    lines = load_format("text").render(whole, RenderOptions()).splitlines()
    assert lines[1] == "  run: batch 16 of random data, float32, seed 0"
    assert lines[4].startswith(
        "  overfit: 56 samples learned by heart in 43 steps (AdamW, lr 0.01)"
    )
    assert not [line for line in lines if "activation" in line]
    assert "activation" not in str(whole)
    assert "overfit: 56 samples learned by heart" in str(whole)


def test_an_experiment_that_the_probe_did_not_reach_is_told() -> None:
    shown = text(Experiments(asked=("gradients", "overfit")))
    assert "  no result: overfit: the probe ended before it did\n" in shown


def test_a_failure_to_overfit_says_what_was_tried() -> None:
    flat = tuple(Attempt(rate, (2.3,) * 400, reached=False) for rate in (1e-3, 1e-2, 1e-4))
    (told,) = verdicts(
        made.measured(experiments=Experiments(("overfit",), overfit=Overfit(56, flat, 0.325)))
    )
    assert told.text == (
        "56 samples not learned by heart in 400 steps (AdamW, lr 0.001): loss 2.3 -> 2.3; "
        "tried lr 0.001, 0.01, 0.0001"
    )
    assert told.lines == ("the loss cannot fall below 0.325",)


def test_the_users_own_optimiser_is_named() -> None:
    one = Overfit(8, (Attempt(0.1, (1.0, 0.01), reached=True),))
    measured = made.measured(
        experiments=Experiments(("overfit",), overfit=one), optimizer_given=True
    )
    (told,) = verdicts(measured)
    assert "(SGD, lr 0.1)" in told.text


@pytest.mark.parametrize(
    ("steepest", "valley", "said"),
    [
        (0.02, 0.0083, "begin with --lr 0.0083"),
        (0.02, None, "begin with --lr 0.02"),
        (0.4, 0.001, "the two are far apart: begin between them, with --lr 0.02"),
    ],
)
def test_a_learning_rate_to_begin_with_is_told(
    steepest: float, valley: float | None, said: str
) -> None:
    swept = kinds.LearningRateRange((1e-7, 10.0), (2.3, 2.2), (2.3, 2.2), steepest, valley)
    (told,) = verdicts(made.measured(experiments=Experiments(("lr-range",), lr_range=swept)))
    assert told.lines[1] == said


@pytest.mark.parametrize(
    ("start", "word"),
    [
        (8.0, "far too high"),
        (4.0, "high"),
        (2.9, "a little high"),
        (2.4, "as expected"),
        (0.1, "below"),
    ],
)
def test_the_first_loss_is_put_in_a_word(start: float, word: str) -> None:
    loss = kinds.InitialLoss((start,), 2.302585, "ln 10")
    whole = Experiments(("initial-loss",), initial_loss=loss)
    (told,) = verdicts(made.measured(experiments=whole))
    assert told.text.startswith(f"{word}: ")


@pytest.mark.parametrize(
    ("train", "evaluated", "word"),
    [
        (2.3, 2.4, "close together"),
        (4.0, 2.6, "lower in evaluation mode"),
        (2.3, 9.0, "far apart"),
    ],
)
def test_the_gap_between_the_modes_is_put_in_a_word(
    train: float, evaluated: float, word: str
) -> None:
    both = kinds.TrainEval((train, train), (evaluated, evaluated))
    whole = Experiments(("train-eval",), train_eval=both)
    (told,) = verdicts(made.measured(experiments=whole))
    assert told.text.startswith(f"{word}: ")


def test_a_loss_that_is_not_finite_is_told_as_such() -> None:
    nan = math.nan
    whole = Experiments(
        ("initial-loss", "overfit", "lr-range", "train-eval", "clip", "seeds"),
        initial_loss=kinds.InitialLoss((nan,), 2.3, "ln 10"),
        overfit=Overfit(16, (Attempt(1e-3, (nan,), reached=False),)),
        lr_range=kinds.LearningRateRange((1e-7,), (nan,), (nan,), diverged=1e-7),
        train_eval=kinds.TrainEval((nan,), (nan,)),
        clip=kinds.Clipping(4.0, (nan,), (nan,), (nan,), (nan,)),
        seeds=kinds.Seeds((kinds.Initialisation(nan, ()),), 1),
    )
    assert [each.text for each in verdicts(made.measured(experiments=whole))] == [
        "not finite: nan over 1 batch, where a model that knows nothing has 2.3 (ln 10)",
        "16 samples not learned by heart in 1 step (AdamW, lr 0.001): loss nan -> nan",
        "no suggestion: the loss does not fall from 1e-07 to 1e-07; diverges from 1e-07",
        "not finite: loss nan in training, nan in evaluation mode on the same batch",
        "clips 1 of 1 step at norm 4: the largest gradient norm is nan",
        "the loss is not finite at 1 of 1 initialisation",
    ]


def test_an_experiment_without_a_single_value_is_told_all_the_same() -> None:
    whole = Experiments(
        tuple(NAMES),
        initial_loss=kinds.InitialLoss(()),
        overfit=Overfit(0, ()),
        lr_range=kinds.LearningRateRange((), (), ()),
        isolation=kinds.Isolation(0),
        train_eval=kinds.TrainEval((), ()),
        clip=kinds.Clipping(4.0, (), (), (), ()),
        input=kinds.Inputs((), 0),
        seeds=kinds.Seeds((), 0),
    )
    measured = made.measured(experiments=whole)
    assert len(list(verdicts(measured))) == len(NAMES) - 1
    findings, checks = run_probe_rules(measured, all_rules())
    assert not [each for each in findings if each.code == "NNL002"]
    assert {each.rule for each in checks} >= {"initial-loss", "cannot-overfit", "batch-leak"}


def test_without_a_suggestion_no_rate_is_told() -> None:
    swept = kinds.LearningRateRange((1e-7, 10.0), (2.3, 2.3), (2.3, 2.3))
    (told,) = verdicts(made.measured(experiments=Experiments(("lr-range",), lr_range=swept)))
    assert told.text == "no suggestion: the loss does not fall from 1e-07 to 10"
    assert len(told.lines) == 1


def test_a_bias_that_is_near_zero_by_chance_does_not_depend_on_the_seed() -> None:
    states = tuple(
        kinds.Initialisation(2.3, (1e-3, None, 1e-3, 0.04, bias)) for bias in (1e-5, 0.1)
    )
    whole = Experiments(("seeds",), seeds=kinds.Seeds(states, 3))
    (told,) = verdicts(made.measured(experiments=whole))
    assert told.text.startswith(
        "much alike: 2 initialisations, loss 2.3 to 2.3, gradients within 1.0"
    )
    assert told.lines == ()


def test_how_frequent_labels_are_is_told_of_the_users_own_alone() -> None:
    whole = Experiments(("initial-loss",), initial_loss=made.experiments().initial_loss)
    said = "knowing only how frequent each class is gives 2.2"
    for data in ("user", "random"):
        (told,) = verdicts(made.measured(experiments=whole, data=data))
        assert (said in told.lines) is (data == "user")


def test_hostile_text_of_an_experiment_does_not_reach_the_terminal() -> None:
    hostile = "\x1b]0;x\x07\n\u202e"
    tensor = dataclasses.replace(made.experiments().input.tensors[0], name=hostile)  # type: ignore[union-attr]
    whole = Experiments(
        ("input", "seeds"), {"seeds": hostile}, input=kinds.Inputs((tensor,), samples=1)
    )
    for shown in (text(whole), str(report(experiments=whole))):
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)


def test_a_curve_falls_from_left_to_right() -> None:
    assert sparkline([3.0, 2.0, 1.0, 0.0]) == "█▆▃▁"
    assert sparkline([3.0, 2.0, 1.0, 0.0], plain=True) == "#*-_"


def test_a_curve_has_a_ceiling_and_says_what_was_lost() -> None:
    assert sparkline([1.0, 0.0, 1e9, math.nan], ceiling=2.0) == "▅▁█x"
    assert sparkline([1.0]) == sparkline([math.nan, math.inf]) == sparkline([]) == ""
    assert sparkline([1.0, 1.0]) == "▁▁"
    assert sparkline([1.0, 1.0], floor=0.0) == "██"


@given(
    st.lists(st.floats(width=64), max_size=200),
    st.integers(1, 40),
    st.none() | st.floats(),
    st.none() | st.floats(),
)
def test_a_curve_of_anything_fits(
    values: list[float], cells: int, floor: float | None, ceiling: float | None
) -> None:
    drawn = sparkline(values, cells=cells, floor=floor, ceiling=ceiling)
    finite = sum(map(math.isfinite, values))
    assert len(drawn) == (min(len(values), cells) if finite > 1 else 0)
