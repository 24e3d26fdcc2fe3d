"""Experiments that train, in one request: each finds what it finds alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import nn

import nnlint
from nnlint.linter.experiments import Experiments
from nnlint.probe_service import asking
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.client.embedded import Embedded
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe import graphs
from tests.probe.experiments.kinds import found
from tests.probe.probing import LIMITS
from tests.probe.replay.running import answered, load
from tests.probe.server.generated import fill

ADAMW = pb.Optimizer(
    learning_rate=0.01, adamw=pb.Optimizer.AdamW(beta1=0.9, beta2=0.999, epsilon=1e-8)
)
SGD = pb.Optimizer(learning_rate=0.1, sgd=pb.Optimizer.Sgd(momentum=0.9))
EXPERIMENTS = [
    pb.Experiment(
        lr_range=pb.LrRangeExperiment(
            start=1e-4, end=10, steps=12, smoothing=0.05, divergence=5, optimizer=SGD
        )
    ),
    pb.Experiment(
        overfit=pb.OverfitExperiment(batches=2, steps=10, share=0.05, optimizers=[ADAMW, SGD])
    ),
    pb.Experiment(initial_loss=pb.InitialLossExperiment(batches=2)),
    pb.Experiment(clip=pb.ClipExperiment(steps=3, max_norm=0.1, optimizer=ADAMW)),
    pb.Experiment(gradients=pb.GradientsExperiment(steps=2, optimizer=SGD)),
]


def _run(built: graphs.Built, chosen: list[pb.Experiment]) -> tuple[list[Any], list[Any]]:
    request = built.request()
    del request.settings.experiments[:]
    request.settings.experiments.extend(chosen)
    events = answered(built, request)
    assert events.result.status == measurement_pb2.Result.STATUS_COMPLETED
    found = [event.experiment for event in events.all if event.HasField("experiment")]
    for each in events.steps:
        each.seconds = 0
    return found, events.steps


@pytest.mark.parametrize("built", [graphs.mlp(), graphs.convnet()], ids=["mlp", "convnet"])
@pytest.mark.parametrize("order", [1, -1], ids=["forwards", "backwards"])
def test_together_each_finds_what_it_finds_alone(built: graphs.Built, order: int) -> None:
    chosen = EXPERIMENTS[::order]
    found, steps = _run(built, chosen)
    by_position = {each.experiment: each for each in found}
    for position, each in enumerate(chosen):
        alone, alone_steps = _run(built, [each])
        if each.WhichOneof("kind") == "gradients":
            assert steps == alone_steps
        else:
            alone[0].experiment = position
            assert by_position[position] == alone[0]


def test_the_program_is_bit_identical_after_all_of_them() -> None:
    built = graphs.convnet()
    program, other = load(built), load(built)
    for each in EXPERIMENTS[:-1]:
        kind = str(each.WhichOneof("kind"))
        found(built, kind, getattr(each, kind), program=program)
    for index, tensor in program.state().items():
        assert torch.equal(tensor, other.state()[index])


class Net(nn.Module):
    """A healthy model with dropout and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(20, 64)
        self.norm = nn.BatchNorm1d(64)
        self.drop = nn.Dropout(0.5)
        self.fc2 = nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc2(self.drop(torch.relu(self.norm(self.fc1(x)))))
        return out


@pytest.fixture(scope="module")
def served() -> Experiments:
    torch.manual_seed(0)
    with Embedded() as server:
        report = nnlint.probe(
            Net(),
            loss="cross_entropy",
            server=f"unix:{server.address().path}",
            experiments=("initial-loss", "overfit", "lr-range", "clip", "gradients"),
        )
    (probed,) = report.probes
    assert probed.status == "completed", probed.reason
    assert probed.measured is not None
    assert probed.measured.steps == 3
    assert probed.measured.experiments.skipped == {}
    return probed.measured.experiments


def test_a_server_learns_by_heart(served: Experiments) -> None:
    assert served.overfit is not None
    assert served.overfit.reached
    assert served.overfit.samples == 64


def test_a_server_sweeps_rates(served: Experiments) -> None:
    assert served.lr_range is not None
    assert served.lr_range.learning_rates[0] == pytest.approx(1e-7)
    assert served.lr_range.steepest is not None


def test_a_server_clips(served: Experiments) -> None:
    assert served.clip is not None
    assert len(served.clip.losses) == len(served.clip.clipped_losses) == 10


def test_a_server_tells_the_initial_loss(served: Experiments) -> None:
    assert served.initial_loss is not None
    assert served.initial_loss.theory == "ln 5"
    assert served.initial_loss.doubled == pytest.approx(1.0)
    assert served.initial_loss.prior is not None
    assert len(served.initial_loss.losses) == 4


def test_whatever_a_server_answers_is_read_without_an_error() -> None:
    captured = capture_live(Net(), None, "cross_entropy", ProbeOptions())
    graph = graph_pb2.Graph.FromString(captured.graph)
    subject = asking.Subject(captured, graph, ProbeOptions(), LIMITS)
    chance = random.Random(0)  # noqa: S311 - messages of a test
    read: dict[str, set[bool]] = {}
    for _ in range(300):
        answer = measurement_pb2.ExperimentResult()
        for kind in ("initial_loss", "overfit", "lr_range", "clip"):
            module = asking.find(kind)
            assert module is not None
            told = module.read(fill(getattr(answer, kind), chance), subject)
            read.setdefault(kind, set()).add(told is None)
    assert set(map(frozenset, read.values())) == {frozenset({True, False})}
