"""Optimiser steps, each measured, then forward passes until enough samples were seen."""

from __future__ import annotations

import time

import torch

from nnlint.probe_service.experiments.base import Context
from nnlint.probe_service.experiments.needs import Needs
from nnlint.probe_service.replay import localise, optimise
from nnlint.probe_service.replay.activity import Activity
from nnlint.probe_service.replay.measure import Meter
from nnlint.probe_service.replay.optimise import Trainer
from nnlint.probe_service.replay.ranges import range_of
from nnlint.probe_service.replay.reading import Doubtful, Reading
from nnlint.protos.v1 import probe_service_pb2

KIND = "gradients"


def needs(experiment: probe_service_pb2.GradientsExperiment) -> Needs:
    """Return what memory it takes: besides the optimiser's state, the parameters before a step."""
    kept = optimise.state_tensors(experiment.optimizer)
    saved = 1 + kept if experiment.steps > optimise.CHECKPOINT_STEPS else 0
    return Needs(optimizer=kept, copies=1 + saved)


def run(experiment: probe_service_pb2.GradientsExperiment, context: Context) -> None:
    """Run it; with no samples asked for, those of the steps are looked at instead."""
    _Gradients(experiment, context).run()


class _Gradients:
    """One run of the experiment."""

    def __init__(self, experiment: probe_service_pb2.GradientsExperiment, context: Context) -> None:
        self.experiment = experiment
        self.context = context
        self.program = context.program
        self.nodes = len(self.program.graph.nodes)
        self.trainer = Trainer(self.program, experiment.optimizer, journal=context.journal)
        self.activity = Activity(context.plan, self.program.device, self.nodes)
        self.meter = self._meter(Doubtful())
        self.told_nan = False
        self.healthy = True

    def run(self) -> None:
        self.context.stage(probe_service_pb2.Stage.KIND_RUNNING)
        made = 0
        while made < self.experiment.steps and self.healthy:
            self._step(made)
            made += 1
            self.context.result.steps += 1
        samples = made * self.program.graph.batch_size
        if self.experiment.samples:
            samples = self._sample(made)
        self.context.result.unit_activities.extend(self.activity.messages(samples))

    def _meter(self, care: Doubtful) -> Meter:
        return Meter(
            self.context.plan,
            self.program.device,
            self.nodes,
            care=care,
            histograms=self.experiment.histograms,
        )

    def _step(self, step: int) -> None:
        reading = self._measured(step)
        reading.statistics.step = step
        self.context.step(reading.statistics)
        if reading.poisoned or reading.broken or (reading.has_nan and not self.told_nan):
            self._localise(step, reading)

    def _measured(self, step: int) -> Reading:
        """Make a step; again and with more care where float32 could not hold its squares."""
        while True:
            started = time.perf_counter()
            watch = self.meter.watch
            if not self.experiment.samples:
                watch = self.activity.with_meter(watch)
            reading = self.trainer.measured(step, self.meter, watch)
            reading.statistics.seconds = time.perf_counter() - started
            care = self.meter.care | reading.doubtful
            if care <= self.meter.care:
                return reading
            self.meter = self._meter(care)
            self.trainer.rewind(step)

    def _localise(self, step: int, reading: Reading) -> None:
        """Find the origin of a value that is not finite, and leave the state before the step."""
        self.context.stage(probe_service_pb2.Stage.KIND_LOCALISING)
        self.trainer.rewind(step)
        found = None
        if reading.poisoned or reading.has_nan:
            self.trainer.prepare(step)
            found = localise.localise(self.program, step, journal=self.context.journal)
        if found is None and reading.broken:
            before = [range_of(self.trainer.parameters[each]) for each in reading.broken]
            self.trainer.rewind(step)
            self.trainer.bare(step)
            found = localise.after_step(self.program, reading.broken, before, step)
        if found is None and (reading.poisoned or reading.has_nan):
            found = localise.as_seen(self.context.plan, reading.statistics)
        if found is not None:
            self.context.result.non_finite.append(found)
        self.told_nan = True
        self.trainer.rewind(step)
        if reading.poisoned or (found is not None and found.phase == localise.Phase.PHASE_STEP):
            # Every step from here on would repeat the same news.
            self.healthy = False
        else:
            self.trainer.bare(step)
            self.context.stage(probe_service_pb2.Stage.KIND_RUNNING)

    def _sample(self, made: int) -> int:
        """Run forward passes with further data, and return how many samples they had."""
        program, batch = self.program, self.program.graph.batch_size
        passes = -(-self.experiment.samples // batch)
        different = program.batches()
        if different is not None:
            # The same batch again would be no new samples.
            passes = min(passes, different)
        self.context.stage(probe_service_pb2.Stage.KIND_SAMPLING)
        kept = {index: tensor.detach().clone() for index, tensor in program.changing().items()}
        program.clear_gradients()
        for each in range(passes):
            step = made + each
            program.inputs(step)
            program.seed_step(step)
            with torch.no_grad():
                program.forward(
                    journal=self.context.journal, watch=self.activity.watch, gradients=False
                )
        with torch.no_grad():
            for index, tensor in program.changing().items():
                tensor.copy_(kept[index])
        return passes * batch
