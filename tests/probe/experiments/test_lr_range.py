from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlint.linter.experiments import LearningRateRange
from nnlint.probe_service import asking
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.experiments import sweep
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import graph_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe import graphs
from tests.probe.experiments.kinds import found
from tests.probe.probing import LIMITS, replay
from tests.probe.replay.running import load, step

LOSSES = st.lists(st.floats(-1e3, 1e3), max_size=40)


def _settings(**changes: Any) -> pb.LrRangeExperiment:
    values: dict[str, Any] = {
        "start": 1e-4,
        "end": 1.0,
        "steps": 20,
        "smoothing": 0.05,
        "divergence": 5.0,
        "optimizer": pb.Optimizer(),
    }
    return pb.LrRangeExperiment(**{**values, **changes})


@given(
    start=st.floats(1e-30, 1e10),
    factor=st.floats(1.001, 1e20),
    steps=st.integers(2, 300),
    linear=st.booleans(),
)
def test_rates_go_from_start_to_end_by_equal_factors_or_differences(
    start: float, factor: float, steps: int, *, linear: bool
) -> None:
    end = start * factor
    made = sweep.rates(start, end, steps, linear=linear)
    assert (len(made), made[0], made[-1]) == (steps, start, end)
    expected = np.linspace(start, end, steps) if linear else np.geomspace(start, end, steps)
    assert made == pytest.approx(expected.tolist(), rel=1e-9)


def test_bounds_whose_quotient_overflows_have_rates_all_the_same() -> None:
    made = sweep.rates(1e-38, 1e38, 5, linear=False)
    assert made == pytest.approx([1e-38, 1e-19, 1, 1e19, 1e38])


@given(LOSSES, st.floats(0.01, 1.0))
def test_the_average_is_a_weighted_mean_of_all_losses_so_far(
    losses: list[float], weight: float
) -> None:
    average = sweep.Average(weight, 0.0)
    for loss in losses:
        average.add(loss)
    for count in range(1, len(losses) + 1):
        weights = [(1 - weight) ** (count - 1)]
        weights += [weight * (1 - weight) ** (count - 1 - each) for each in range(1, count)]
        assert math.fsum(weights) == pytest.approx(1)
        mean = math.fsum(w * loss for w, loss in zip(weights, losses, strict=False))
        assert average.values[count - 1] == pytest.approx(mean, abs=1e-6)
    assert not average.diverged


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=40), st.floats(1.1, 10))
def test_it_diverges_where_the_average_is_first_beyond_a_multiple_of_its_least(
    losses: list[float], multiple: float
) -> None:
    average = sweep.Average(0.5, multiple)
    for loss in losses:
        average.add(loss)
        beyond = average.values[-1] > multiple * min(average.values)
        assert average.diverged == beyond
        if beyond:
            break


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_diverges_also_without_a_bound(loss: float) -> None:
    average = sweep.Average(0.05, 0.0)
    average.add(1.0)
    assert not average.diverged
    average.add(loss)
    assert average.diverged


def test_losses_below_zero_have_no_multiple_that_means_divergence() -> None:
    average = sweep.Average(1.0, 5.0)
    for loss in (-1.0, -0.5, 0.0, 3.0):
        average.add(loss)
        assert not average.diverged


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40))
def test_the_steepest_step_is_that_of_numpy_gradient(losses: list[float]) -> None:
    slopes = np.gradient(np.array(losses))
    place = sweep.steepest(losses)
    if place is None:
        assert slopes.min() >= 0
    else:
        assert slopes[place] == slopes.min() < 0


def _descents(losses: list[float]) -> list[int]:
    """Return the length of the longest falling subsequence that ends at each place."""
    lengths: list[int] = []
    for place, loss in enumerate(losses):
        before = [lengths[k] for k in range(place) if losses[k] > loss]
        lengths.append(1 + max(before, default=0))
    return lengths


@settings(max_examples=300)
@given(st.lists(st.integers(-20, 20).map(float), max_size=30))
def test_the_valley_is_the_middle_of_the_longest_descent(losses: list[float]) -> None:
    lengths = _descents(losses)
    longest = max(lengths, default=1)
    place = sweep.valley(losses)
    if longest < 2:
        assert place is None
    else:
        third = longest / 3
        end = lengths.index(longest)
        assert place == max(end - longest + int(third) + int(third / 2), 0)


def test_the_valley_of_a_smooth_curve_lies_on_its_slope() -> None:
    curve = [2.0] * 30 + [2 - each / 20 for each in range(30)] + [0.5 + each for each in range(20)]
    place = sweep.valley(curve)
    assert place is not None
    assert 35 < place < 50


@pytest.mark.parametrize(
    ("count", "kept"), [(100, (10, 95)), (60, (10, 55)), (20, (5, 18)), (3, (0, 3)), (0, (0, 0))]
)
def test_what_has_yet_to_settle_is_left_out_and_more_of_a_long_curve(
    count: int, kept: tuple[int, int]
) -> None:
    part = sweep.judged([1.0] * count)
    assert (part.start, part.stop) == kept


def test_averages_after_divergence_are_left_out() -> None:
    part = sweep.judged([1.0] * 80 + [math.nan])
    assert (part.start, part.stop) == (10, 75)


def test_steps_are_those_of_torch_optim_with_the_rate_of_each() -> None:
    built = _fixed()
    chosen = _settings(optimizer=pb.Optimizer(sgd=pb.Optimizer.Sgd(momentum=0.9)))
    result = found(built, "lr_range", chosen)
    program = load(built)
    optimizer = torch.optim.SGD(program.trained(), 0.1, momentum=0.9)
    for number, (rate, loss) in enumerate(zip(result.learning_rates, result.losses, strict=True)):
        optimizer.param_groups[0]["lr"] = rate
        assert loss == float(step(program, number))
        optimizer.step()
    assert len(result.losses) == 20
    assert result.learning_rates[-1] == 1.0


def test_a_range_beyond_all_bounds_diverges_and_suggests_what_was_before() -> None:
    result = found(_fixed(), "lr_range", _settings(end=1e6, steps=60))
    assert result.diverged == result.learning_rates[-1] < 1e6
    assert len(result.losses) < 60
    assert 1e-4 < result.steepest < result.diverged
    assert 1e-4 < result.valley < result.diverged


def test_a_loss_that_is_no_number_ends_it_and_is_told() -> None:
    result = found(_fixed(), "lr_range", _settings(start=1e30, end=1e38, divergence=0.0))
    assert len(result.losses) < 20
    assert not math.isfinite(result.losses[-1])
    assert result.diverged == result.learning_rates[-1]


def test_a_loss_that_never_falls_has_no_suggestion() -> None:
    b = graphs.Builder()
    x = b.call("aten.mul.Tensor", b.input(8, 4), 0.0, shape=(8, 4))
    b.parameter(3)
    result = found(b.build(b.call("aten.mean.default", x)), "lr_range", _settings())
    assert not result.HasField("steepest")
    assert not result.HasField("valley")
    assert not result.HasField("diverged")


def _fixed() -> graphs.Built:
    """Return a network whose labels are a function of its inputs, in two batches."""
    b = graphs.Builder(batch_size=8)
    values = [math.sin(7 * each) for each in range(2 * 8 * 4)]
    labels = [int(values[4 * each] > 0) for each in range(16)]
    roles = graph_pb2.Tensor
    x = b.tensor(roles.ROLE_INPUT, (8, 4), values=values, batches=2)
    y = b.tensor(roles.ROLE_TARGET, (8,), values=labels, dtype=graphs.INT64, batches=2)
    hidden = b.call("aten.tanh.default", b.linear(x, 8, 4, 16), shape=(8, 16))
    return b.build(b.cross_entropy(b.linear(hidden, 8, 16, 2), y))


def test_random_batches_come_again_so_that_a_rate_can_be_seen_to_work() -> None:
    result = found(graphs.mlp(), "lr_range", _settings(start=1e-30, end=1e-29, steps=9))
    assert len(set(result.losses)) == 4
    assert result.losses[:4] == result.losses[4:8]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"steps": 1}, "e.steps"),
        ({"steps": 100_001}, "e.steps"),
        ({"start": 0.0}, "e.start"),
        ({"start": math.nan}, "e.start"),
        ({"end": math.inf}, "e.end"),
        ({"end": 1e-5}, "e.end"),
        ({"smoothing": 0.0}, "e.smoothing"),
        ({"smoothing": 1.5}, "e.smoothing"),
        ({"smoothing": math.nan}, "e.smoothing"),
        ({"divergence": -1.0}, "e.divergence"),
        ({"divergence": math.nan}, "e.divergence"),
        ({"optimizer": pb.Optimizer(weight_decay=-1)}, "e.optimizer.weight_decay"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], field: str) -> None:
    module = asking.find("lr_range")
    assert module is not None
    assert not list(module.check("e", _settings(), LIMITS))
    assert field in [each.field for each in module.check("e", _settings(**changes), LIMITS)]


def _swept(rate: float) -> LearningRateRange:
    torch.manual_seed(0)
    options = ProbeOptions(experiments=("lr_range",), lr_start=1e-6, lr_end=rate, lr_steps=60)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Dropout(0.1), torch.nn.Linear(32, 3)
    )
    data = torch.randn(64, 8)
    batch = [(part, part.argmax(1) % 3) for part in data.split(16)]
    result = replay(capture_live(model, batch, "cross_entropy", options), options)
    swept = result.experiments.lr_range
    assert swept is not None
    return swept


def test_a_sound_model_gets_a_rate_that_learns() -> None:
    swept = _swept(100.0)
    assert swept.steepest is not None
    assert swept.diverged is not None
    assert 0.01 < swept.steepest < swept.diverged
    assert len(swept.learning_rates) == len(swept.losses) == len(swept.smoothed)


def test_a_range_that_ends_too_early_does_not_diverge() -> None:
    assert _swept(1e-4).diverged is None
