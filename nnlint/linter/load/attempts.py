"""Builds a model in one way after the other until it can be analysed.

Explicit configuration stands alone. Otherwise: the defaults, the ways in which the project builds
the model, and at last typical values for what is required.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from nnlint.linter.discover.recipes import Construction, Plain
from nnlint.linter.discover.targets import Target
from nnlint.linter.engine import ModelResult
from nnlint.linter.findings import Location
from nnlint.linter.load import build, failures, standin
from nnlint.linter.load.assume.blame import Blame, blame, blame_line
from nnlint.linter.load.assume.reading import Reader
from nnlint.linter.load.assume.search import Search
from nnlint.linter.load.filling import Filling, wanting, wanting_at
from nnlint.linter.load.recipes import Kitchen, ModuleOf
from nnlint.linter.settings import ModelSettings

MOST_ATTEMPTS = 14
# Tracing costs more than building: fewer of the failures there are learned from.
MOST_TRACES = 5

Origin = Literal["given", "defaults", "project", "assumed"]
Analyse = Callable[[nn.Module, Mapping[str, str]], ModelResult]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt gave.

    Attributes:
        reached: How far it came: 0 no arguments, 1 not built, 2 defect of nnlint, 3 not traced,
            4 traced with sizes that do not fit, 5 analysed.
        origin: Where the arguments come from.
        assumed: Those that were assumed.
        result: What the rules say, None where they have not run.
        model: The model, None where it was not built.
        error: What was raised, None where nothing was.
        construction: The call in the project that tells the arguments.
    """

    reached: int
    origin: Origin
    assumed: Mapping[str, str] = field(default_factory=dict)
    result: ModelResult | None = None
    model: nn.Module | None = None
    error: BaseException | None = None
    construction: Location | None = None

    @property
    def is_final(self) -> bool:
        """Whether no other attempt could be better."""
        return self.reached == 5 or (
            self.error is not None and failures.is_out_of_memory(self.error)
        )


@dataclass(frozen=True, slots=True)
class Subject:
    """A target to be built.

    Attributes:
        value: What its name stands for: a class, a function, or the model itself.
        target: What discovery knows of it.
        settings: What the user says about it.
        module_of: Returns the module of one of the project's files.
        is_users: Tells the names of the user's files from others.
        known: Returns the values that the source gives to things of a name.
        globals: Those that are filled with assumed values, until the next target.
        analyse: Traces a model and runs the rules.
        seconds: Of the processor, after which no further attempt is begun.
        watched: What is entered while the model is built.
    """

    value: Any
    target: Target
    settings: ModelSettings
    module_of: ModuleOf
    is_users: Callable[[str], bool]
    globals: Filling
    analyse: Analyse
    seconds: float
    known: Callable[[str], tuple[Any, ...]] = lambda _: ()
    watched: Callable[[], AbstractContextManager[None]] = nullcontext


def attempt(subject: Subject) -> Outcome:
    """Return the best outcome; of those that fail alike, the one that assumes least."""
    run = _Run(subject)
    best: Outcome | None = None
    for outcome in run.outcomes():
        if best is None or outcome.reached > best.reached:
            best = outcome
        if best.is_final or run.is_over:
            break
    assert best is not None, "there is always one way"
    return best


def ways(subject: Subject) -> Iterator[tuple[Origin, Construction]]:
    """Yield the ways to build a target."""
    settings, target = subject.settings, subject.target
    if settings.args or settings.kwargs:
        kwargs = {name: Plain(value) for name, value in settings.kwargs.items()}
        yield "given", Construction(tuple(map(Plain, settings.args)), kwargs)
        return
    needy = build.required(subject.value)
    if not needy:
        yield "defaults", Construction()
    for construction in target.constructions:
        yield "project", construction
    if needy:
        yield "assumed", Construction()


@dataclass(slots=True)
class _Run:
    """The attempts at one target."""

    subject: Subject
    left: int = MOST_ATTEMPTS
    traces: int = MOST_TRACES
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = time.process_time() + self.subject.seconds

    @property
    def is_over(self) -> bool:
        """Whether no further attempt is begun."""
        return self.left <= 0 or self.traces <= 0 or time.process_time() > self.deadline

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcome of each attempt."""
        if self.subject.target.kind == "instance":
            yield self._instance()
            return
        reader = Reader(self.subject.is_users)
        for origin, construction in ways(self.subject):
            search = Search(reader, self.subject.known)
            while True:
                self.left -= 1
                outcome = self._once(origin, construction, search)
                yield outcome
                if not self._filled(outcome) and not search.learn(self._blame(outcome)):
                    break

    def _filled(self, outcome: Outcome) -> bool:
        """Tell whether a global without a value, which is filled from now on, was to blame."""
        error, result = outcome.error, outcome.result
        if error is not None:
            if self.subject.globals.open_option(error):
                return True
            if standin.cause(error) is None:
                return False
            return self.subject.globals.open(wanting(error.__traceback__))
        if result is None or result.report.analysed or "StandIn" not in result.report.reason:
            return False
        names = [name for each in self._blame(outcome).names for name in each]
        return self.subject.globals.open(wanting_at(self.subject.value, names))

    def _instance(self) -> Outcome:
        try:
            model = build.in_training(build.only_module(self.subject.value, self.subject.target))
        except build.NotBuildableError as error:
            return Outcome(1, "defaults", error=error)
        return self._analysed(model, "defaults", {})

    def _once(self, origin: Origin, construction: Construction, search: Search) -> Outcome:
        subject = self.subject
        search.begin()
        reached = 0
        try:
            build.seed()
            self.subject.globals.fill(search, subject.value)
            kitchen = Kitchen(subject.module_of, search)
            try:
                args, kwargs = kitchen.call(subject.value, construction.args, construction.kwargs)
                search.complete(dict(enumerate(args)) | kwargs)
            except TypeError as error:
                raise build.NotBuildableError(f"the given arguments do not fit: {error}") from error
            reached = 1
            build.seed()  # whatever the arguments have drawn
            with subject.watched():
                value = subject.value(*args, **kwargs)
            model = build.in_training(build.only_module(value, subject.target))
        except BaseException as error:  # noqa: BLE001 - the user's constructor may raise anything
            if self._lacks_arguments(error, search):
                reached = 0
            return Outcome(
                reached, origin, search.assumed, error=error, construction=construction.location
            )
        return self._analysed(model, origin, search.assumed)

    def _lacks_arguments(self, error: BaseException, search: Search) -> bool:
        """Tell whether arguments are missing that none of the parameters requires.

        Those that *args or **kwargs would hand on, or those whose default of None does not do.
        """
        found = blame(error, self.subject.is_users)
        if found.missing:
            return build.is_open(self.subject.value)
        return search.wants_optional(found)

    def _analysed(self, model: nn.Module, origin: Origin, assumed: Mapping[str, str]) -> Outcome:
        try:
            result = self.subject.analyse(model, assumed)
        except BaseException as error:  # noqa: BLE001 - forward may end the program
            reached = 2 if isinstance(error, Exception) else 3
            self.traces -= 1
            return Outcome(reached, origin, assumed, model=model, error=error)
        if not result.report.analysed:
            self.traces -= 1
            return Outcome(3, origin, assumed, result, model)
        if assumed and result.graph is not None and result.graph.failure is not None:
            self.traces -= 1
            return Outcome(4, origin, assumed, result, model)
        return Outcome(5, origin, assumed, result, model)

    def _blame(self, outcome: Outcome) -> Blame:
        if outcome.error is not None:
            return blame(outcome.error, self.subject.is_users)
        if outcome.result is None:
            return Blame()
        place = next((f.location for f in outcome.result.findings), None)
        if place is None or outcome.result.report.analysed:
            return Blame()
        return blame_line(outcome.result.report.reason, place.path, place.line)
