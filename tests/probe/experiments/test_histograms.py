from __future__ import annotations

import math

import pytest
import torch

from nnlint.linter.measured import HISTOGRAM_BINS
from nnlint.probe_service.options import ProbeOptions
from nnlint.probe_service.replay.histograms import Histograms
from nnlint.probe_service.replay.measure import Meter
from nnlint.probe_service.replay.optimise import Trainer
from nnlint.protos.v1 import probe_service_pb2
from tests.probe import graphs
from tests.probe.probing import capture_text, replay
from tests.probe.replay.running import CPU, load, planned

SGD = probe_service_pb2.Optimizer(learning_rate=0.1)
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def counted(tensor: torch.Tensor) -> list[int]:
    histograms = Histograms(1, 0, CPU)
    histograms.of_value(0)(tensor)
    return list(histograms.message().activations)


def expected(tensor: torch.Tensor) -> list[int]:
    """Count as the protocol defines it, value by value."""
    counts = [0] * HISTOGRAM_BINS
    for value in tensor.double().abs().flatten().tolist():
        if not math.isfinite(value):
            counts[-1] += 1
        elif value < 2.0**-40:
            counts[0] += 1
        else:
            counts[min(math.frexp(value)[1] + 40, HISTOGRAM_BINS - 2)] += 1
    return counts


@pytest.mark.parametrize("dtype", DTYPES)
def test_counts_are_those_of_the_definition(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(500, generator=generator) * 2.0 ** torch.randint(
        -60, 60, (500,), generator=generator
    )
    special = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, 2.0, 0.5, -1.0])
    tensor = torch.cat([values, special]).to(dtype)
    assert counted(tensor) == expected(tensor)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (2.0**-41, 0),
        (2.0**-40, 1),
        (2.0**-39, 2),
        (1.0, 41),
        (2.0**21 - 1, 61),
        (2.0**21, 62),
        (3e38, 62),
        (1e-44, 0),
        (-math.inf, 63),
    ],
)
def test_borders_belong_to_the_upper_bin(value: float, place: int) -> None:
    assert counted(torch.tensor([value])).index(1) == place


@pytest.mark.parametrize("value", [1e300, 1e-300])
def test_what_float32_cannot_hold_is_finite_in_float64(value: float) -> None:
    (place,) = [i for i, n in enumerate(counted(torch.tensor([value], dtype=torch.float64))) if n]
    assert place == (62 if value > 1 else 0)


def test_views_and_large_tensors_are_counted_whole() -> None:
    base = torch.randn(1 << 10, 1 << 11, generator=torch.Generator().manual_seed(0))
    for tensor in (base, base.t(), base[::2, 1::3], base[:0]):
        assert sum(counted(tensor)) == tensor.numel()
    assert counted(base.t()) == counted(base)
    assert counted(base[::2]) == counted(base[::2].clone())
    assert counted(torch.view_as_complex(base.view(-1, 2)).conj().imag) == counted(base[:, 1::2])


@pytest.mark.parametrize("built", [graphs.mlp(), graphs.convnet(), graphs.sigmoid_net()])
def test_a_run_with_histograms_equals_one_without_to_the_bit(built: graphs.Built) -> None:
    runs = []
    for histograms in (False, True):
        program = load(built)
        plan = planned(program)
        meter = Meter(plan, CPU, len(program.calls), histograms=histograms)
        trainer = Trainer(program, SGD)
        found = [trainer.measured(step, meter).statistics for step in range(3)]
        gradients = [p.grad.clone() for p in program.trained() if p.grad is not None]
        state = [tensor.detach().clone() for tensor in program.state().values()]
        assert all(each.HasField("histograms") == histograms for each in found)
        for each in found:
            each.ClearField("histograms")
        runs.append((found, [*gradients, *state]))
    assert runs[0][0] == runs[1][0]
    assert len(runs[0][1]) == len(runs[1][1])
    assert all(torch.equal(one, other) for one, other in zip(runs[0][1], runs[1][1], strict=True))


def test_every_step_is_counted_by_itself() -> None:
    built = graphs.mlp()
    program = load(built)
    plan = planned(program)
    meter = Meter(plan, CPU, len(program.calls), histograms=True)
    trainer = Trainer(program, SGD)
    for step in range(2):
        before = [p.detach().clone() for p in program.trained()]
        counts = trainer.measured(step, meter).statistics.histograms
        for field, tensors in {
            "parameters": before,
            "parameter_gradients": [p.grad for p in program.trained() if p.grad is not None],
        }.items():
            assert list(getattr(counts, field)) == [n for t in tensors for n in expected(t)]
        elements = [each.elements for each in plan.nodes]
        for field in ("activations", "gradients"):
            rows = torch.tensor(getattr(counts, field)).view(-1, HISTOGRAM_BINS)
            assert rows.sum(1).tolist() == elements


MODEL = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 8)
        self.unused = nn.Linear(3, 3)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x, label):
        return F.cross_entropy(self.fc2(F.relu(self.fc1(x))), label)
"""


def test_histograms_come_with_each_layer_and_only_where_they_are_asked_for() -> None:
    captured = capture_text(MODEL)
    measured = replay(captured, ProbeOptions(histograms=True, steps=2))
    relu = next(node for node in measured.nodes if "relu" in node.operator)
    assert [sum(counts) for counts in relu.activation_histograms] == [16 * 8, 16 * 8]
    # What ReLU cuts off is exactly zero.
    share = [counts[0] / 128 for counts in relu.activation_histograms]
    assert share == pytest.approx(relu.zero_fraction)
    for parameter in measured.parameters:
        assert [sum(counts) for counts in parameter.histograms] == [parameter.elements] * 2
        used = not parameter.name.startswith("unused")
        gradients = [sum(counts) for counts in parameter.gradient_histograms]
        assert gradients == [parameter.elements * used] * 2
    plain = replay(captured, ProbeOptions(steps=2))
    assert {node.activation_histograms for node in plain.nodes} == {()}
    assert {each.gradient_histograms for each in plain.parameters} == {()}
