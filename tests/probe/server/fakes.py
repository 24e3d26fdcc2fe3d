"""A stand-in for the replay of graphs: what happens is chosen by the seed of the probe."""

from __future__ import annotations

import os
import signal
import time

from nnlint.protos.v1 import measurement_pb2, probe_service_pb2, worker_pb2

_Stage = probe_service_pb2.Stage
_Result = measurement_pb2.Result

FAST, HANG, ABORT, SEGV, KILL, EXIT, SLOW, STAY, LARGE, CHATTER, REFUSE = range(11)


def execute(job, read, emit, journal):
    """Make the steps that were asked for, and in each do what the seed says."""
    seed = job.request.settings.seed
    emit(worker_pb2.WorkerEvent(stage=_Stage(kind=_Stage.KIND_LOADING)))
    read(job.request.graph)
    if seed == REFUSE:
        refusal = worker_pb2.Refusal()
        refusal.violations.add(field="graph.nodes[3]", description="is refused")
        emit(worker_pb2.WorkerEvent(refusal=refusal))
        return
    emit(worker_pb2.WorkerEvent(plan=measurement_pb2.MeasurementPlan(nodes=[0])))
    steps = job.request.settings.experiments[0].gradients.steps
    for step in range(steps):
        journal(7)
        if step == 0:
            emit(worker_pb2.WorkerEvent(stage=_Stage(kind=_Stage.KIND_RUNNING)))
        misbehave(seed)
        journal(-1)
        statistics = measurement_pb2.StepStatistics(
            step=step,
            loss=1.0 / (step + 1),
            measured=True,
            activation_rms=[1.0] * (100_000 if seed == LARGE else 10),
        )
        emit(worker_pb2.WorkerEvent(step=statistics))
    emit(worker_pb2.WorkerEvent(result=_Result(status=_Result.STATUS_COMPLETED, steps=steps)))
    if seed == STAY:
        hang()


def misbehave(seed):
    if seed == HANG:
        hang()
    elif seed == ABORT:
        os.abort()
    elif seed == SEGV:
        os.kill(os.getpid(), signal.SIGSEGV)
    elif seed == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    elif seed == EXIT:
        os._exit(5)
    elif seed == SLOW:
        time.sleep(0.05)
    elif seed == CHATTER:
        os.write(1, b"x" * (1 << 20))


def hang():
    while True:
        time.sleep(1000)
