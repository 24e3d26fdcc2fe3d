from __future__ import annotations

import math
from typing import Any

import pytest

from nnlint.probe_service import asking
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import graph_pb2, probe_service_pb2
from tests.probe import graphs
from tests.probe.experiments.kinds import found
from tests.probe.probing import LIMITS, capture_text, replay
from tests.probe.replay.running import load

INPUT, TARGET = graph_pb2.Tensor.ROLE_INPUT, graph_pb2.Tensor.ROLE_TARGET


def _built(values: list[float], labels: list[int], *, batches: int, batch: int = 4) -> graphs.Built:
    b = graphs.Builder(batch_size=batch)
    width = len(values) // (batch * batches)
    x = b.tensor(INPUT, (batch, width), values=values, batches=batches)
    y = b.tensor(TARGET, (batch,), values=labels, dtype=graphs.INT64, batches=batches)
    return b.build(b.cross_entropy(b.linear(x, batch, width, 3), y))


def _found(built: graphs.Built, batches: int) -> list[Any]:
    settings = probe_service_pb2.InputExperiment(batches=batches)
    return list(found(built, "input", settings).tensors)


def test_moments_are_those_of_all_batches_together() -> None:
    values = [float(i * i % 31) - 7 for i in range(48)]
    x, y = _found(_built(values, [0, 1, 2, 2, 0, 2, 2, 2], batches=2), 2)
    mean = sum(values) / 48
    assert x.mean == pytest.approx(mean, abs=1e-9)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / 48)
    assert x.standard_deviation == pytest.approx(spread, rel=1e-9)
    assert (x.minimum, x.maximum, x.elements) == (min(values), max(values), 48)
    assert (x.nan_count, x.infinite_count, x.repeated_samples) == (0, 0, 0)
    assert not x.HasField("labels")
    assert (y.labels.first, list(y.labels.counts)) == (0, [2, 1, 5])
    assert y.repeated_samples == 7


def test_what_is_not_finite_is_counted_and_left_out_of_the_moments() -> None:
    values = [1.0, 3.0, math.nan, math.inf, -math.inf, math.nan, 1.0, 3.0]
    x, _ = _found(_built(values, [1, 1, 1, 1], batches=1), 1)
    assert (x.nan_count, x.infinite_count, x.elements) == (2, 2, 8)
    assert (x.mean, x.standard_deviation, x.minimum, x.maximum) == (2.0, 1.0, 1.0, 3.0)


def test_without_a_finite_value_there_is_nothing_but_the_counts() -> None:
    x, _ = _found(_built([math.nan] * 8, [0] * 4, batches=1), 1)
    assert (x.nan_count, x.mean, x.standard_deviation, x.minimum, x.maximum) == (8, 0, 0, 0, 0)


def test_samples_that_are_equal_are_found_across_batches() -> None:
    rows = [[float(i), float(i % 3), -1.0] for i in range(8)]
    rows[6] = rows[1]
    rows[7] = rows[1]
    x, _ = _found(_built([v for row in rows for v in row], [0] * 8, batches=2), 2)
    assert x.repeated_samples == 3


def test_a_difference_in_the_last_bit_makes_another_sample() -> None:
    close = [0.1, 0.1 + 2**-27, 0.1 - 2**-27, 0.1 + 2**-26]
    x, _ = _found(_built(close, [0] * 4, batches=1), 1)
    assert x.repeated_samples == 0


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (graph_pb2.SCALAR_TYPE_BOOL, [False, True, False, True]),
        (graph_pb2.SCALAR_TYPE_INT32, [-3, 5, -3, 5]),
        (graph_pb2.SCALAR_TYPE_FLOAT64, [-3, 5, -3, 5]),
        (graph_pb2.SCALAR_TYPE_FLOAT16, [-3, 5, -3, 5]),
    ],
)
def test_every_element_type_can_be_looked_at(dtype: Any, values: list[float]) -> None:
    b = graphs.Builder(batch_size=4)
    b.tensor(INPUT, (4,), values=values, dtype=dtype, batches=1)
    loss = b.call("aten.mean.default", b.parameter(3), shape=())
    (x,) = _found(b.build(loss), 1)
    assert (x.minimum, x.maximum, x.repeated_samples) == (values[0], values[1], 4)
    if dtype in {graph_pb2.SCALAR_TYPE_BOOL, graph_pb2.SCALAR_TYPE_INT32}:
        assert (x.labels.first, x.labels.counts[0], x.labels.counts[-1]) == (values[0], 2, 2)


def test_integers_that_too_many_numbers_span_have_no_counts() -> None:
    labels = [0, 1, 2, 1 << 40]
    b = graphs.Builder(batch_size=4)
    b.tensor(INPUT, (4,), values=labels, dtype=graphs.INT64, batches=1)
    (x,) = _found(b.build(b.call("aten.mean.default", b.parameter(3), shape=())), 1)
    assert not x.HasField("labels")
    assert x.maximum == 1 << 40


def test_steps_are_not_disturbed() -> None:
    built = graphs.mlp()
    program, other = load(built), load(built)
    found(built, "input", probe_service_pb2.InputExperiment(batches=2), program=program)
    assert all((program.inputs(1)[i] == x).all() for i, x in other.inputs(1).items())


@pytest.mark.parametrize("batches", [0, LIMITS.steps + 1])
def test_a_wrong_number_of_batches_is_refused(batches: int) -> None:
    module = asking.find("input")
    assert module is not None
    settings = probe_service_pb2.InputExperiment(batches=batches)
    assert [v.field for v in module.check("x", settings, LIMITS)] == ["x.batches"]


MODEL = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens, label):
        return F.cross_entropy(self.head(self.embed(tokens).mean(1)), label)
"""


def test_drawn_data_are_told_by_name_and_role() -> None:
    options = ProbeOptions(experiments=("input",))
    inputs = replay(capture_text(MODEL, options=options), options).experiments.input
    assert inputs is not None
    assert inputs.samples == 32
    tokens = next(each for each in inputs.tensors if each.name == "tokens")
    assert tokens.dtype == "int64"
    assert not tokens.target
    assert sum(tokens.labels.values()) == tokens.elements
    assert set(tokens.labels) <= set(range(50))
