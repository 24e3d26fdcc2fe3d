"""What experiments are given, and how they are found."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from nnlint.probe_service.experiments.needs import Needs
from nnlint.probe_service.replay.plan import Plan
from nnlint.probe_service.replay.program import Journal, Program
from nnlint.protos.v1 import graph_pb2, measurement_pb2, probe_service_pb2


@dataclass(frozen=True, slots=True)
class Context:
    """What an experiment works with.

    Attributes:
        program: The graph on its device; an experiment resets it first.
        plan: What is observed.
        journal: To be told each operation before it runs.
        stage: Tells what is being done.
        step: Sends the statistics of a step.
        load: Checks another graph of the request and brings it onto the device.
        progress: Tells how far the experiment is: steps that were made, the most there may be, the
            last loss, and the learning rate or 0. Most of it is dropped, so it may be told often.
        finish: Sends what the experiment found, once, at its end.
        result: Takes what the gradients experiment found: non-finite origins, activities, steps.
    """

    program: Program
    plan: Plan
    journal: Journal
    stage: Callable[[probe_service_pb2.Stage.Kind], None]
    step: Callable[[measurement_pb2.StepStatistics], None]
    load: Callable[[graph_pb2.Digest], Program]
    progress: Callable[[int, int, float, float], None]
    finish: Callable[[measurement_pb2.ExperimentResult], None]
    result: measurement_pb2.Result = field(default_factory=measurement_pb2.Result)


class Experiment(Protocol):
    """The module of one kind of experiment."""

    KIND: str

    def needs(self, experiment: Any) -> Needs:
        """Return what memory it takes."""

    def run(self, experiment: Any, context: Context) -> None:
        """Run it."""


@functools.cache
def _experiments() -> Mapping[str, Experiment]:
    package = __name__.rpartition(".")[0]
    modules = [
        importlib.import_module(f"{package}.{info.name}")
        for info in pkgutil.iter_modules(importlib.import_module(package).__path__)
    ]
    return {
        module.KIND: cast("Experiment", module) for module in modules if hasattr(module, "KIND")
    }


def find(kind: str | None) -> Experiment | None:
    """Return the module of a kind of experiment, None where there is none."""
    return None if kind is None else _experiments().get(kind)
