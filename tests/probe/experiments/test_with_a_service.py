"""Experiments asked of a real server, in one probe."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import nnlint
from nnlint.linter.experiments import Experiments, Isolation
from nnlint.linter.measured import Measured
from nnlint.probe_service.client.embedded import Embedded

KINDS = ("gradients", "input", "seeds", "isolation", "train-eval")


class Net(nn.Module):
    """A healthy model with dropout and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 16)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.1)
        self.fc2 = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc2(self.drop(torch.relu(self.norm(self.fc1(x)))))
        return out


@pytest.fixture(scope="module")
def data() -> torch.Tensor:
    data = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    data[2] = data[5]
    return data


@pytest.fixture(scope="module")
def measured(data: torch.Tensor) -> Measured:
    torch.manual_seed(0)
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 2])
    with Embedded() as server:
        report = nnlint.probe(
            Net(),
            (data, labels),
            "cross_entropy",
            f"unix:{server.address().path}",
            experiments=KINDS,
            histograms=True,
        )
    (probed,) = report.probes
    assert probed.status == "completed", probed.reason
    assert probed.measured is not None
    return probed.measured


@pytest.fixture
def found(measured: Measured) -> Experiments:
    assert measured.experiments.skipped == {}
    return measured.experiments


def test_inputs(found: Experiments, data: torch.Tensor) -> None:
    assert found.input is not None
    x, y = found.input.tensors
    assert (x.repeated_samples, x.target, y.target, y.labels) == (2, False, True, {0: 7, 2: 1})
    assert x.standard_deviation == pytest.approx(data.std(correction=0).item(), rel=1e-5)
    assert found.input.samples == 8


def test_seeds(found: Experiments) -> None:
    assert found.seeds is not None
    assert found.seeds.shuffled == 2
    losses = [each.loss for each in found.seeds.initialisations]
    assert len(set(losses)) == 5
    assert max(losses) < 2
    assert {len(each.gradient_rms) for each in found.seeds.initialisations} == {6}


def test_histograms(measured: Measured) -> None:
    assert len(measured.parameters) == 6
    for parameter in measured.parameters:
        for counts in (*parameter.histograms, *parameter.gradient_histograms):
            assert sum(counts) == parameter.elements
    assert any(node.gradient_histograms for node in measured.nodes)


def test_isolation(found: Experiments) -> None:
    assert found.isolation == Isolation(compared=1)


def test_train_eval(found: Experiments) -> None:
    assert found.train_eval is not None
    assert len(set(found.train_eval.train_losses)) == 4
    (loss,) = set(found.train_eval.eval_losses)
    assert loss < 1.2 * max(found.train_eval.train_losses)
