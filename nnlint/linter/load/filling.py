"""Assumes values for globals that come from what is not there, such as the sizes of an environment.

A file says `n_actions = env.action_space.n`, and the package of the environment is not installed:
the name then stands for a stand-in. Where a model fails for want of such a value, and the name is
no import or definition, a typical value takes its place for the next attempts at this model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any

from nnlint.linter.load import lazy
from nnlint.linter.load.assume.blame import names_at
from nnlint.linter.load.assume.choices import Question
from nnlint.linter.load.assume.search import Search
from nnlint.linter.load.standin import StandIn


@dataclass(frozen=True, slots=True)
class Place:
    """A global that is to be filled.

    Attributes:
        names: The names of its module.
        name: Its name.
        before: What it stood for.
    """

    names: dict[str, Any] = field(hash=False, compare=False)
    name: str
    before: StandIn = field(hash=False, compare=False)


class Filling:
    """The globals that are filled while one model is built."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, str], Place] = {}

    def open(self, found: Iterator[Place]) -> bool:
        """Have further globals filled from now on; tell whether there are any."""
        before = len(self._places)
        for place in found:
            self._places.setdefault((id(place.names), place.name), place)
        return len(self._places) > before

    def fill(self, search: Search, model: Callable[..., Any]) -> None:
        """Give each of them the value that is assumed for it now."""
        for place in self._places.values():
            uses = search.uses_of_global(model, place.name)
            place.names[place.name] = search.ask(Question(place.name, (place.name,), uses))

    def undo(self) -> None:
        """Put back what they stood for."""
        for place in self._places.values():
            place.names[place.name] = place.before
        self._places = {}


def wanting(traceback: TracebackType | None) -> Iterator[Place]:
    """Yield the globals without a value that the innermost place of the user's code reads."""
    places = []
    while traceback is not None:
        places.append(traceback)
        traceback = traceback.tb_next
    for each in reversed(places):
        frame = each.tb_frame
        found = list(_read(frame, names_at(each))) or list(_read(frame, frame.f_code.co_names))
        if found:
            yield from found
            return


def wanting_at(function: Callable[..., Any], names: Sequence[str]) -> Iterator[Place]:
    """Yield the globals without a value among `names`, as the module of a function has them."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    if isinstance(module, lazy.LazyModule):
        yield from _among(module.nnlint_body, names)


def _read(frame: FrameType, names: Sequence[str]) -> Iterator[Place]:
    body = lazy.body_of(frame)
    if body is not None:
        yield from _among(body, names)


def _among(body: lazy.Body, names: Sequence[str]) -> Iterator[Place]:
    for name in names:
        value = body.names.get(name)
        effects = body.index.effects.get(name, ())
        if isinstance(value, StandIn) and not any(
            each.defines and name in each.binds for each in effects
        ):
            yield Place(body.names, name, value)
