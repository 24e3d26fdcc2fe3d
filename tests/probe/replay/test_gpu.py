"""What only a CUDA device can show."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
from torch.nn import functional as F

from nnlint.probe_service.replay.measure import Meter
from nnlint.probe_service.replay.optimise import Trainer
from nnlint.protos.v1 import measurement_pb2, probe_service_pb2
from tests.probe import graphs
from tests.probe.replay.running import load, planned, probe, step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda")
SGD = probe_service_pb2.Optimizer(learning_rate=0.1)


def test_loss_and_gradients_equal_eager_on_the_same_device_to_the_bit() -> None:
    program = load(graphs.mlp(), device=CUDA, seed=7)
    w1, b1, w2, b2, w3, b3 = copies = [
        each.detach().clone().requires_grad_() for each in program.trained()
    ]
    loss = step(program)
    x, labels = program.inputs(0).values()
    torch.manual_seed(program.step_seed(0))
    hidden = torch.relu(F.linear(torch.relu(F.linear(x, w1, b1)), w2, b2))
    eager = F.cross_entropy(F.linear(F.dropout(hidden, 0.5), w3, b3), labels)
    eager.backward()
    assert torch.equal(loss, eager)
    for mine, theirs in zip(program.trained(), copies, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert torch.equal(mine.grad, theirs.grad)


def test_a_measured_step_leaves_what_a_bare_one_leaves_to_the_bit() -> None:
    bare_program = load(graphs.convnet(), device=CUDA)
    program = load(graphs.convnet(), device=CUDA)
    bare, trainer = Trainer(bare_program, SGD), Trainer(program, SGD)
    meter = Meter(planned(program), CUDA, len(program.calls))
    for each in range(3):
        loss = bare.bare(each)
        assert trainer.measured(each, meter).statistics.loss == loss.item()
    for index, tensor in bare_program.state().items():
        assert torch.equal(tensor, program.tensor(index))


def test_statistics_are_those_of_the_cpu() -> None:
    for built in (graphs.mlp(), graphs.convnet(), graphs.sigmoid_net()):
        there = probe(built, device="cuda", samples=64)
        here = probe(built, samples=64)
        assert there.result.status == measurement_pb2.Result.STATUS_COMPLETED
        assert there.plan == here.plan
        mine, theirs = there.steps[0], here.steps[0]
        names = ["activation_rms", "activation_abs_max", "gradient_rms", "parameter_rms"]
        if "dropout" not in str(built.graph.operators):
            for name in names:
                expected = list(getattr(theirs, name))
                assert list(getattr(mine, name)) == pytest.approx(expected, rel=1e-2, abs=1e-7)


def test_nothing_waits_for_the_device_before_the_one_transfer() -> None:
    program = load(graphs.convnet(), device=CUDA)
    trainer = Trainer(program, SGD)
    meter = Meter(planned(program), CUDA, len(program.calls))
    trainer.measured(0, meter)
    read = meter.read
    torch.cuda.set_sync_debug_mode("error")

    def read_freely() -> object:
        torch.cuda.set_sync_debug_mode("default")
        return read()

    meter.read = read_freely  # type: ignore[assignment,method-assign]
    # Drawing on the host and bringing it over is no part of measuring.
    inputs, program.inputs = program.inputs, lambda _: {}  # type: ignore[assignment,method-assign]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.measured(0, meter)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        program.inputs = inputs  # type: ignore[method-assign]


def test_memory_that_runs_out_is_told_and_the_next_probe_runs() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    rows = total // 4
    b = graphs.Builder()
    w = b.parameter(1, values=[1.0])
    y = b.call("aten.expand.default", w, [rows], shape=(rows,))
    y = b.call("aten.exp.default", y, shape=(rows,))
    y = b.call("aten.exp.default", y, shape=(rows,))
    built = b.build(b.call("aten.sum.default", y, shape=()))
    result = probe(built, device="cuda", limits={"elements": 1 << 60}).result
    assert result.status == measurement_pb2.Result.STATUS_OUT_OF_MEMORY
    assert result.estimated_bytes > total
    assert result.available_bytes > 0
    after = probe(graphs.mlp(), device="cuda").result
    assert after.status == measurement_pb2.Result.STATUS_COMPLETED


ASSERTION = """
from tests.probe import graphs
from tests.probe.replay.running import probe

b = graphs.Builder()
rows = b.call("aten.embedding.default", b.parameter(4, 3), b.labels(9, 8), shape=(8, 3))
result = probe(b.build(b.call("aten.sum.default", rows, shape=())), device="cuda").result
print(result.status, result.message)
"""


def test_an_assertion_on_the_device_is_told_and_the_next_process_is_well() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASSERTION], capture_output=True, text=True, check=False, timeout=300
    )
    status, _, message = done.stdout.strip().splitlines()[-1].partition(" ")
    assert int(status) == measurement_pb2.Result.STATUS_OPERATOR_FAILED, done.stderr[-2000:]
    assert "assertion" in message
    after = probe(graphs.mlp(), device="cuda").result
    assert after.status == measurement_pb2.Result.STATUS_COMPLETED


@pytest.mark.parametrize("precision", [1, 2, 3, 4])
def test_every_precision_runs(precision: int) -> None:
    events = probe(graphs.convnet(), device="cuda", precision=precision, samples=32)
    assert events.result.status == measurement_pb2.Result.STATUS_COMPLETED
    assert not events.result.non_finite
