from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnlint.linter.experiments import Overfit
from nnlint.probe_service import asking
from nnlint.probe_service.asking import capacity
from nnlint.probe_service.asking.losses import Reader
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.client.request import ask
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import graph_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe import graphs
from tests.probe.experiments.kinds import found
from tests.probe.probing import LIMITS, replay

OPTIONS = ProbeOptions(experiments=("overfit",))
BOTH = ProbeOptions(experiments=("overfit", "gradients"))
ADAMW = pb.Optimizer(
    learning_rate=0.01, adamw=pb.Optimizer.AdamW(beta1=0.9, beta2=0.999, epsilon=1e-8)
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Hold small operators on one thread: among other processes several wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _settings(**changes: Any) -> pb.OverfitExperiment:
    values: dict[str, Any] = {"batches": 2, "steps": 60, "share": 0.05, "optimizers": [ADAMW]}
    return pb.OverfitExperiment(**{**values, **changes})


def _overfit(model: nn.Module, loss: Any, batch: Any = None, **options: Any) -> Overfit:
    chosen = ProbeOptions(experiments=("overfit",), **options)
    result = replay(capture_live(model, batch, loss, chosen), chosen).experiments
    assert result.overfit is not None, result.skipped
    return result.overfit


def _skipped(model: nn.Module, loss: Any, batch: Any = None) -> str:
    """Return why a model is not asked."""
    return ask(capture_live(model, batch, loss, BOTH), BOTH, LIMITS).skipped.get("overfit", "")


def _asked(loss: Any, batch: Any = None, model: nn.Module | None = None) -> pb.OverfitExperiment:
    captured = capture_live(model or _mlp(), batch, loss, OPTIONS)
    (experiment,) = ask(captured, OPTIONS, LIMITS).experiments
    return experiment.overfit


def _mlp(*widths: int, activation: type[nn.Module] = nn.ReLU, dropout: float = 0.5) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    widths = widths or (20, 64, 64, 10)
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), activation(), nn.Dropout(dropout)]
    return nn.Sequential(*layers[:-2])


def _batches(classes: int, *shape: int, vocabulary: int = 0) -> list[tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(48, *shape, generator=generator)
    if vocabulary:
        inputs = torch.randint(0, vocabulary, (48, *shape), generator=generator)
    labels = torch.randint(0, classes, (48,), generator=generator)
    return list(zip(inputs.split(16), labels.split(16), strict=True))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 16)
        self.lstm = nn.LSTM(16, 32, 2, batch_first=True, dropout=0.5)
        self.out = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(self.lstm(self.embedding(x))[0][:, -1])
        return out


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 32)
        self.places = nn.Parameter(torch.randn(12, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.out = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(self.encoder(self.embedding(x) + self.places).mean(1))
        return out


def _convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )


HEALTHY: dict[str, tuple[Callable[[], nn.Module], Any, Any]] = {
    "mlp, drawn": (_mlp, "cross_entropy", None),
    "mlp, binary": (lambda: _mlp(20, 64, 1), "binary_cross_entropy_with_logits", None),
    "mlp, regression": (lambda: _mlp(20, 64, 64, 2), "mse_loss", None),
    "mlp, sigmoid": (lambda: _mlp(20, 64, 10, activation=nn.Sigmoid), "cross_entropy", None),
    "convolutional": (_convolutional, "cross_entropy", _batches(10, 3, 8, 8)),
    "recurrent": (Recurrent, "cross_entropy", _batches(4, 12, vocabulary=100)),
    "attending": (Attending, "cross_entropy", _batches(4, 12, vocabulary=100)),
    "smoothed": (_mlp, nn.CrossEntropyLoss(label_smoothing=0.1), None),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_sound_model_learns_its_samples_by_heart(name: str) -> None:
    make, loss, batch = HEALTHY[name]
    torch.manual_seed(0)
    result = _overfit(make(), loss, batch)
    assert result.reached, [each.losses[-1] for each in result.attempts]
    assert result.samples in {48, 64}
    last = result.attempts[-1].losses
    assert last[-1] - result.floor < 0.3 * (last[0] - result.floor)


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 12), nn.ReLU())
        self.features.requires_grad_(requires_grad=False)
        self.head = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.features(x))
        return out


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 12), nn.ReLU())
        self.head = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.features(x).detach())
        return out


class Blind(nn.Module):
    """Has no path from its input to the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(20, 64)
        self.out = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(torch.relu(self.hidden(x * 0)))
        return out


BROKEN: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "frozen layers": (Frozen, "cross_entropy"),
    "detached head": (Detached, "cross_entropy"),
    "no path from the input": (Blind, "cross_entropy"),
    "softmax before the loss": (
        lambda: nn.Sequential(_mlp(), nn.Softmax(1)),
        "cross_entropy",
    ),
    "loss on the wrong thing": (
        _mlp,
        lambda z, y: F.mse_loss(z.mean(1), y.float() * 0 + z.detach().mean(1) + 1),
    ),
    "no nonlinearity": (
        lambda: nn.Sequential(nn.Linear(6, 64), nn.Linear(64, 64), nn.Linear(64, 10)),
        "cross_entropy",
    ),
    "vanishing gradients": (
        lambda: _mlp(20, *[32] * 8, 10, activation=nn.Sigmoid, dropout=0.0),
        "cross_entropy",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_does_not(name: str) -> None:
    make, loss = BROKEN[name]
    torch.manual_seed(0)
    model = make()
    batch = None if isinstance(loss, str) else _batches(10, 20)
    result = _overfit(model, loss, batch, overfit_steps=200)
    assert not result.reached
    assert [each.learning_rate for each in result.attempts] == [1e-3, 1e-2, 1e-4]
    assert all(len(each.losses) == result.steps for each in result.attempts)


def test_dropout_is_off_and_batches_come_again() -> None:
    still = pb.Optimizer(learning_rate=0.0)
    result = found(graphs.mlp(), "overfit", _settings(optimizers=[still], steps=6))
    (attempt,) = result.attempts
    assert list(attempt.losses) == list(attempt.losses[:2]) * 3
    assert attempt.losses[0] != attempt.losses[1]
    assert result.samples == 16


def test_a_lucky_batch_is_not_enough() -> None:
    b = graphs.Builder(batch_size=2)
    roles = graph_pb2.Tensor
    x = b.tensor(roles.ROLE_INPUT, (2, 1), values=[1.0] * 4, batches=2)
    y = b.tensor(roles.ROLE_TARGET, (2,), values=[0, 0, 1, 1], dtype=graphs.INT64, batches=2)
    sure = b.parameter(2, 1, values=[10.0, 0.0])
    logits = b.call("aten.linear.default", x, sure, shape=(2, 2))
    still = pb.Optimizer(learning_rate=0.0)
    settings = _settings(optimizers=[still], steps=6)
    (attempt,) = found(b.build(b.cross_entropy(logits, y)), "overfit", settings).attempts
    assert min(attempt.losses) < 0.001
    assert (len(attempt.losses), attempt.reached) == (6, False)


def test_the_first_optimiser_that_reaches_ends_it() -> None:
    still = pb.Optimizer(learning_rate=0.0)
    result = found(graphs.mlp(), "overfit", _settings(optimizers=[still, ADAMW, ADAMW], steps=300))
    assert [each.reached for each in result.attempts] == [False, True]
    last = result.attempts[1].losses
    assert len(last) < 300
    assert (last[-1] + last[-2]) / 2 <= 0.05 * (last[0] + last[1])


def test_a_loss_at_its_floor_from_the_start_makes_no_step() -> None:
    b = graphs.Builder()
    y = b.labels(1, 8)
    built = b.build(b.cross_entropy(b.linear(b.input(8, 4), 8, 4, 1), y))
    (attempt,) = found(built, "overfit", _settings()).attempts
    assert (list(attempt.losses), attempt.reached) == ([0.0], True)


def test_a_loss_that_is_no_number_ends_an_attempt() -> None:
    huge = pb.Optimizer(learning_rate=1e30)
    result = found(graphs.mlp(), "overfit", _settings(optimizers=[huge]))
    (attempt,) = result.attempts
    assert not math.isfinite(attempt.losses[-1])
    assert len(attempt.losses) < 60
    assert not attempt.reached


def test_the_users_own_optimiser_is_tried_alone_and_without_decay() -> None:
    result = _overfit(
        _mlp(20, 64, 10),
        "cross_entropy",
        optimizer="sgd",
        learning_rate=0.3,
        momentum=0.9,
        weight_decay=0.5,
    )
    (attempt,) = result.attempts
    assert (attempt.learning_rate, attempt.reached) == (0.3, True)


@pytest.mark.parametrize(
    ("loss", "floor"),
    [
        ("cross_entropy", 0.0),
        (nn.CrossEntropyLoss(weight=torch.rand(10)), 0.0),
        ("l1_loss", 0.0),
        (lambda z, y: ((z - F.one_hot(y, 10)) ** 2).mean(), 0.0),
        (lambda z, y: F.cross_entropy(z, y) + F.cross_entropy(2 * z, y), 0.0),
        (lambda z, y: F.binary_cross_entropy_with_logits(z, F.one_hot(y, 10).float()), 0.0),
    ],
)
def test_most_losses_fall_to_zero(loss: Any, floor: float) -> None:
    assert _asked(loss, None if isinstance(loss, str) else _batches(10, 20)).floor == floor


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.1, 0.5, 1.0])
def test_smoothed_labels_keep_their_entropy(smoothing: float, reduction: str) -> None:
    loss = nn.CrossEntropyLoss(label_smoothing=smoothing, reduction=reduction)
    shares = F.one_hot(torch.arange(16) % 10, 10) * (1 - smoothing) + smoothing / 10
    best = loss(shares.log().clamp(min=-1e4), torch.arange(16) % 10)
    assert _asked(loss, _batches(10, 20)).floor == pytest.approx(float(best), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (None, "no loss was found"),
        (lambda z, _: F.cross_entropy(z, torch.softmax(z.detach(), 1)), "entropy of its targets"),
        (F.nll_loss, "no log-probabilities"),
        (lambda z, y: -F.cross_entropy(z, y), "subtracted"),
        (lambda z, y: F.cross_entropy(z, y) + 0.1 * z.pow(2).mean(), "penalty"),
        (lambda z, _: torch.logsumexp(z, 1).mean(), "logsumexp"),
        (
            lambda z, _: F.binary_cross_entropy_with_logits(z, torch.rand_like(z)),
            "entropy of its targets",
        ),
        (lambda z, _: F.poisson_nll_loss(z, z.detach()), "cannot fall below is not known"),
    ],
)
def test_a_loss_without_a_known_floor_is_not_asked_about(loss: Any, reason: str) -> None:
    batch = (torch.randn(16, 20), torch.randint(0, 10, (16,)))
    assert reason in _skipped(_mlp(), loss, batch[0] if loss is None else batch)


def test_drawn_targets_beyond_the_range_of_the_output_are_not_asked_for() -> None:
    model = nn.Sequential(_mlp(20, 64, 4), nn.Sigmoid())
    assert "beyond the range of sigmoid" in _skipped(model, "mse_loss")
    batch = (torch.randn(16, 20), torch.rand(16, 4))
    assert _skipped(model, "mse_loss", batch) == ""


def test_soft_truths_of_the_user_have_an_entropy_and_hard_ones_do_not() -> None:
    model, loss = _mlp(20, 64, 2), "binary_cross_entropy_with_logits"
    inputs, truths = torch.randn(16, 20), torch.randint(0, 2, (16, 2)).float()
    assert _skipped(model, loss, (inputs, truths)) == ""
    assert "entropy" in _skipped(model, loss, (inputs, truths * 0.8 + 0.1))


def test_what_a_model_cannot_hold_is_not_asked_of_it() -> None:
    assert "few to hold" in _skipped(nn.Linear(4, 3), "cross_entropy")
    assert "few to hold" in _skipped(_mlp(256, 8, 256), "mse_loss")
    assert _skipped(nn.Linear(100, 10), "cross_entropy") == ""


def test_a_small_model_is_asked_for_fewer_samples() -> None:
    assert _asked("cross_entropy", None, _mlp(20, 16, 4)).batches == 1
    assert _asked("cross_entropy", None, _mlp()).batches == 4


def test_equal_samples_with_other_labels_are_told() -> None:
    inputs, labels = torch.randn(16, 20), torch.arange(16) % 10
    inputs[9] = inputs[4]
    reason = _skipped(_mlp(), "cross_entropy", (inputs, labels))
    assert reason == "samples 4 and 9 are equal, but their labels are not"
    labels[9] = labels[4]
    assert _skipped(_mlp(), "cross_entropy", (inputs, labels)) == ""


def _looked_up(rows: int) -> int | str:
    """Return how many batches can be learned of a model that looks up one row for each sample."""
    b = graphs.Builder(batch_size=16)
    role = graph_pb2.Tensor.ROLE_INPUT
    index = b.tensor(role, (16,), dtype=graphs.INT64, integers={"low": 0, "high": rows})
    table = b.parameter(rows, 1, values=[0.0] * rows)
    x = b.call("aten.embedding.default", table, index, shape=(16, 1))
    built = b.build(b.cross_entropy(b.linear(x, 16, 1, 40), b.labels(40, 16)))
    reader = Reader(built.graph)
    return capacity.batches(reader, reader.terms(), 56, {})


def test_random_inputs_that_are_often_equal_are_not_asked_about() -> None:
    assert "too small for random samples to differ" in str(_looked_up(1_000))
    assert _looked_up(20_000) == 1
    assert _looked_up(400_000) == 4


def test_more_steps_than_the_server_makes_are_not_asked_for() -> None:
    limits = pb.Limits()
    limits.CopyFrom(LIMITS)
    limits.steps = 500
    captured = capture_live(_mlp(), None, "cross_entropy", BOTH)
    assert "the 500 that the server makes" in ask(captured, BOTH, limits).skipped["overfit"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"batches": 0}, "e.batches"),
        ({"batches": 65}, "e.batches"),
        ({"steps": 0}, "e.steps"),
        ({"steps": 100_000}, "e.steps"),
        ({"floor": math.nan}, "e.floor"),
        ({"floor": -math.inf}, "e.floor"),
        ({"share": 0.0}, "e.share"),
        ({"share": 1.1}, "e.share"),
        ({"share": math.nan}, "e.share"),
        ({"optimizers": []}, "e.optimizers"),
        ({"optimizers": [ADAMW] * 9}, "e.optimizers"),
        (
            {"optimizers": [ADAMW, pb.Optimizer(learning_rate=-1)]},
            "e.optimizers[1].learning_rate",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], field: str) -> None:
    module = asking.find("overfit")
    assert module is not None
    assert not list(module.check("e", _settings(), LIMITS))
    assert [each.field for each in module.check("e", _settings(**changes), LIMITS)] == [field]


def test_work_counts_every_attempt() -> None:
    module = asking.find("overfit")
    assert module is not None
    assert module.work(_settings(optimizers=[ADAMW] * 3)).steps == 2 + 3 * 60
