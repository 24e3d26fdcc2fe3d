from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnlint.linter.experiments import InitialLoss
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.rules.probe.initial_loss import InitialLossRule
from nnlint.probe_service import asking
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import graph_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe import graphs
from tests.probe.experiments.kinds import found
from tests.probe.probing import LIMITS, replay
from tests.probe.replay.running import load, step

OPTIONS = ProbeOptions(experiments=("initial_loss",))
LN10 = math.log(10)


def _net(classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, classes))


def _batch(count: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(count, 8, generator=generator),
        torch.randint(0, 10, (count,), generator=generator),
    )


def _initial(model: nn.Module, loss: Any, batch: Any = None) -> InitialLoss:
    result = replay(capture_live(model, batch, loss, OPTIONS), OPTIONS).experiments.initial_loss
    assert result is not None
    return result


def test_losses_are_those_of_training_mode_at_the_initial_state() -> None:
    built = graphs.convnet()
    result = found(built, "initial_loss", pb.InitialLossExperiment(batches=3))
    program = load(built)
    for number, loss in enumerate(result.losses):
        program.reset()
        assert loss == float(step(program, number))
    assert len(set(result.losses)) == 3


def test_labels_of_all_batches_are_counted() -> None:
    b = graphs.Builder(batch_size=4)
    target = graph_pb2.Tensor.ROLE_TARGET
    y = b.tensor(target, (4,), values=[2, 2, 5, 2, 3, 2, 2, 5], dtype=graphs.INT64, batches=2)
    built = b.build(b.cross_entropy(b.linear(b.input(4, 3), 4, 3, 6), y))
    (labels,) = found(built, "initial_loss", pb.InitialLossExperiment(batches=2)).labels
    assert (labels.first, list(labels.counts)) == (2, [5, 1, 0, 2])


def test_labels_that_are_far_apart_are_not_told() -> None:
    b = graphs.Builder(batch_size=4)
    target = graph_pb2.Tensor.ROLE_TARGET
    y = b.tensor(target, (4,), values=[-(1 << 62), 0, 1, 1 << 62], dtype=graphs.INT64)
    x = b.call("aten.mul.Tensor", b.input(4), y, shape=(4,))
    x = b.call("aten.mul.Tensor", x, b.parameter(1), shape=(4,))
    built = b.build(b.call("aten.mean.default", x))
    (labels,) = found(built, "initial_loss", pb.InitialLossExperiment(batches=1)).labels
    assert not labels.counts


THEORIES: dict[str, tuple[Callable[[], Any], str, float]] = {
    "by name": (lambda: "cross_entropy", "ln 10", LN10),
    "weighted mean": (lambda: nn.CrossEntropyLoss(weight=torch.rand(10)), "ln 10", LN10),
    "smoothed": (lambda: nn.CrossEntropyLoss(label_smoothing=0.2), "ln 10", LN10),
    "summed": (lambda: nn.CrossEntropyLoss(reduction="sum"), "16 ln 10", 16 * LN10),
    "ignoring": (lambda: nn.CrossEntropyLoss(ignore_index=3), "ln 10", LN10),
    "scaled": (lambda: lambda z, y: 0.5 * F.cross_entropy(z, y), "0.5 ln 10", LN10 / 2),
    "mean of many": (
        lambda: lambda z, y: F.cross_entropy(z, y, reduction="none").mean(),
        "ln 10",
        LN10,
    ),
    "two parts": (
        lambda: lambda z, y: F.cross_entropy(z, y) + 0.3 * F.cross_entropy(z * 2, y),
        "ln 10 + 0.3 ln 10",
        1.3 * LN10,
    ),
    "likelihood": (
        lambda: lambda z, y: F.nll_loss(F.log_softmax(z, 1), y),
        "ln 10",
        LN10,
    ),
    "shares": (
        lambda: lambda z, y: F.cross_entropy(z, F.one_hot(y, 10).float()),
        "ln 10",
        LN10,
    ),
    "truths": (
        lambda: lambda z, y: F.binary_cross_entropy_with_logits(z, F.one_hot(y, 10).float()),
        "ln 2",
        math.log(2),
    ),
}


@pytest.mark.parametrize("name", THEORIES)
def test_theory_is_the_loss_of_equal_probabilities(name: str) -> None:
    make, theory, expected = THEORIES[name]
    loss = make()
    result = _initial(_net(), loss, _batch())
    assert (result.theory, result.reason) == (theory, "")
    assert result.expected == pytest.approx(expected)
    called = getattr(F, loss) if isinstance(loss, str) else loss
    uninformed = called(torch.zeros(16, 10), _batch()[1])
    assert result.expected == pytest.approx(float(uninformed), rel=1e-5)
    assert result.losses[0] == pytest.approx(result.expected, rel=0.15)


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (lambda z, y: F.cross_entropy(z, y, torch.ones(10), label_smoothing=0.1), "weighs"),
        (lambda z, y: F.cross_entropy(z, y, torch.ones(10), reduction="sum"), "weighs"),
        (lambda z, y: F.nll_loss(z, y), "no log-probabilities"),
        (lambda z, y: F.mse_loss(z, F.one_hot(y, 10).float()), "scale"),
        (lambda z, y: F.cross_entropy(z, y).exp(), "computed by exp"),
    ],
)
def test_without_a_theory_there_is_a_reason(loss: Any, reason: str) -> None:
    result = _initial(_net(), loss, _batch())
    assert (result.expected, result.theory) == (None, "")
    assert reason in result.reason


def test_classes_are_in_dimension_1_also_of_images() -> None:
    model = nn.Conv2d(3, 4, 3, padding=1)
    batch = (torch.randn(2, 3, 8, 8), torch.randint(0, 4, (2, 8, 8)))
    result = _initial(model, nn.CrossEntropyLoss(reduction="sum"), batch)
    assert (result.classes, result.theory) == (4, "128 ln 4")


def test_the_prior_is_the_entropy_of_the_labels_that_count() -> None:
    x, _ = _batch(8)
    labels = torch.tensor([0, 0, 0, 1, 9, 9, 9, 9])
    result = _initial(_net(), nn.CrossEntropyLoss(ignore_index=9), (x, labels))
    shares = [0.75, 0.25]
    assert result.prior == pytest.approx(-sum(share * math.log(share) for share in shares))
    assert len(result.losses) == 1


def test_an_output_that_is_too_large_begins_far_above_theory() -> None:
    model = _net()
    with torch.no_grad():
        model[-1].weight.mul_(100)  # type: ignore[index]
    result = _initial(model, "cross_entropy")
    assert result.expected == pytest.approx(LN10)
    assert min(result.losses) > 3 * LN10


@pytest.mark.parametrize(("reduction", "ratio"), [("mean", 1.0), ("sum", 2.0)], ids=["mean", "sum"])
def test_the_batch_taken_twice_tells_a_sum_from_a_mean(reduction: str, ratio: float) -> None:
    result = _initial(_net(), nn.CrossEntropyLoss(reduction=reduction))
    assert result.doubled == pytest.approx(ratio, rel=1e-5)


def test_a_loss_that_compares_samples_is_no_sum() -> None:
    def contrast(z: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(z @ z.T, torch.arange(len(z)))

    options = ProbeOptions(experiments=("initial_loss",))
    measured = replay(capture_live(_net(), _batch(), contrast, options), options)
    assert measured.experiments.initial_loss is not None
    doubled = measured.experiments.initial_loss.doubled
    assert doubled is not None
    assert not 0.9 < doubled < 1.1
    assert not 1.9 < doubled < 2.1
    findings, _ = run_probe_rules(measured, [InitialLossRule])
    assert not any("summed" in finding.message for finding in findings)


def test_batch_norm_and_recurrent_dropout_do_not_disturb_the_ratio() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(6, 8, 2, batch_first=True, dropout=0.5)
            self.norm = nn.BatchNorm1d(8)
            self.out = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.out(self.norm(self.rnn(x)[0][:, -1]))
            return out

    batch = (torch.randn(8, 5, 6), torch.randint(0, 3, (8,)))
    assert _initial(Net(), "cross_entropy", batch).doubled == pytest.approx(1.0, rel=1e-5)


def test_a_model_for_one_size_of_batch_cannot_be_doubled() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(8, 10)
            self.noise = nn.Parameter(torch.zeros(16, 10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.out(x) + self.noise
            return out

    result = _initial(Net(), "cross_entropy", _batch())
    assert result.doubled is None
    assert result.expected == pytest.approx(LN10)


def test_capturing_twice_leaves_model_and_random_state_alone() -> None:
    model = nn.Sequential(nn.Linear(8, 10), nn.BatchNorm1d(10), nn.Dropout(0.5))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    captured = capture_live(model, _batch(), "cross_entropy", OPTIONS)
    assert captured.doubled == pytest.approx(1.0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_the_batch_is_doubled_only_where_it_was_asked_for() -> None:
    assert capture_live(_net(), _batch(), "cross_entropy", ProbeOptions()).doubled is None


@pytest.mark.parametrize("batches", [0, 100_000])
def test_a_wrong_number_of_batches_is_refused(batches: int) -> None:
    module = asking.find("initial_loss")
    assert module is not None
    experiment = pb.InitialLossExperiment(batches=batches)
    assert [each.field for each in module.check("e", experiment, LIMITS)] == ["e.batches"]
