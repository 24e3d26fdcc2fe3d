"""Stand-ins for what runs in a worker: `Settings.executor` names one as "fakes:name"."""

from __future__ import annotations

import os
import signal
import time

from nnlint.protos.v1 import measurement_pb2, probe_service_pb2, worker_pb2

_Stage = probe_service_pb2.Stage
_Result = measurement_pb2.Result


def execute(job, read, emit, journal):
    """Do what the seed says; the default is to measure as many steps as were asked for."""
    read(job.request.graph)
    emit(worker_pb2.WorkerEvent(stage=_Stage(kind=_Stage.KIND_LOADING)))
    emit(worker_pb2.WorkerEvent(plan=measurement_pb2.MeasurementPlan(nodes=[0])))
    emit(worker_pb2.WorkerEvent(stage=_Stage(kind=_Stage.KIND_RUNNING)))
    steps = job.request.settings.experiments[0].gradients.steps
    for step in range(steps):
        journal(7)
        BEHAVIOURS.get(job.request.settings.seed, nothing)(step)
        journal(-1)
        statistics = measurement_pb2.StepStatistics(
            step=step, loss=1.0 / (step + 1), measured=True, activation_rms=[1.0] * WIDTH
        )
        emit(worker_pb2.WorkerEvent(step=statistics))
    emit(worker_pb2.WorkerEvent(result=_Result(status=_Result.STATUS_COMPLETED, steps=steps)))
    if job.request.settings.seed == STAY:
        hang(0)


WIDTH = 1000
FAST, HANG, ABORT, SEGV, KILL, EXIT, SLOW, STAY = range(8)


def nothing(step):
    del step


def hang(step):
    del step
    while True:
        time.sleep(1000)


def slow(step):
    del step
    time.sleep(0.05)


BEHAVIOURS = {
    HANG: hang,
    ABORT: lambda step: os.abort(),
    SEGV: lambda step: os.kill(os.getpid(), signal.SIGSEGV),
    KILL: lambda step: os.kill(os.getpid(), signal.SIGKILL),
    EXIT: lambda step: os._exit(5),
    SLOW: slow,
}
