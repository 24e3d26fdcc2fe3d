"""What is known where an experiment is asked for, and how its file is found."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from nnlint.probe_service.replay.violations import Violation
from nnlint.protos.v1 import graph_pb2, probe_service_pb2

if TYPE_CHECKING:
    from nnlint.probe_service.capture.bundle import Capture
    from nnlint.probe_service.options import ProbeOptions


@dataclass(frozen=True, slots=True)
class Subject:
    """What an experiment is asked about.

    Attributes:
        capture: The training step, with names and places.
        graph: Its graph.
        options: What the user asks for.
        limits: Of the service.
    """

    capture: Capture
    graph: graph_pb2.Graph
    options: ProbeOptions
    limits: probe_service_pb2.Limits


@dataclass(frozen=True, slots=True)
class Work:
    """The most that an experiment does.

    Attributes:
        steps: Forward passes, with or without a backward pass.
        samples: Samples beyond those of the steps.
    """

    steps: int = 0
    samples: int = 0


class Asking(Protocol):
    """The module of one kind of experiment."""

    KIND: str

    def ask(self, subject: Subject) -> Any:
        """Return the settings, or a sentence that says why this model cannot be asked."""

    def check(
        self, field: str, experiment: Any, limits: probe_service_pb2.Limits
    ) -> Iterator[Violation]:
        """Yield what is wrong with settings."""

    def work(self, experiment: Any) -> Work:
        """Return the most that is done."""

    def graphs(self, experiment: Any) -> Sequence[graph_pb2.Digest]:
        """Return the graphs that are needed beside the probe's own."""

    def read(self, result: Any, subject: Subject) -> Any:
        """Return what was found as a dataclass of `nnlint.linter.experiments`."""


@functools.cache
def _asking() -> Mapping[str, Asking]:
    package = __name__.rpartition(".")[0]
    modules = [
        importlib.import_module(f"{package}.{info.name}")
        for info in pkgutil.iter_modules(importlib.import_module(package).__path__)
    ]
    return {module.KIND: cast("Asking", module) for module in modules if hasattr(module, "KIND")}


def find(kind: str | None) -> Asking | None:
    """Return the module of a kind of experiment, None where there is none."""
    return None if kind is None else _asking().get(kind)


def kinds() -> tuple[str, ...]:
    """Return the names of all kinds, in the order of the protocol."""
    fields = probe_service_pb2.Experiment.DESCRIPTOR.fields
    return tuple(each.name for each in fields if each.name in _asking())
