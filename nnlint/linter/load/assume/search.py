"""Chooses values for what is not told, and learns from the attempts that fail."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnlint.linter.load.assume.blame import Blame
from nnlint.linter.load.assume.choices import (
    WIDTH,
    Choice,
    Makers,
    Question,
    choices,
    plain,
    suggested,
)
from nnlint.linter.load.assume.forms import NUMBERS, Form
from nnlint.linter.load.assume.kinds import Kind, kinds_of
from nnlint.linter.load.assume.namespace import Namespace
from nnlint.linter.load.assume.options import Options
from nnlint.linter.load.assume.reading import Reader
from nnlint.linter.load.assume.uses import Uses
from nnlint.linter.load.build import is_required

_DEEPEST = 5


@dataclass(slots=True)
class Slot:
    """One assumed value: what may be taken for it, and what is taken now."""

    question: Question
    choices: Sequence[Choice]
    at: int = 0
    tried: set[int] = field(default_factory=lambda: {0})

    @property
    def choice(self) -> Choice:
        """The value that is taken now."""
        return self.choices[self.at]

    def move(self, wanted: frozenset[Form] | None) -> bool:
        """Take the next value of a wanted form, of any form for None; tell whether there is one."""
        for index, choice in enumerate(self.choices):
            if index not in self.tried and (wanted is None or choice.form in wanted):
                self.at = index
                self.tried.add(index)
                return True
        return False

    def offer(self, values: Sequence[str]) -> bool:
        """Take one of the values that the code has for it; tell whether there are any."""
        if not values or self.choice.text in map(repr, values):
            return False
        self.choices = list(map(plain, values))
        self.at, self.tried = 0, {0}
        return True


class Search:
    """The assumed values of one model over several attempts.

    Args:
        reader: Reads what the user's code does with a value.
        known: Returns the values that the source gives to things of a name.
    """

    def __init__(
        self, reader: Reader, known: Callable[[str], Sequence[Any]] = lambda _: ()
    ) -> None:
        self._reader = reader
        self._makers = Makers(self.ask, self.options, self.construct, known)
        self._slots: dict[str, Slot] = {}
        self._made: dict[str, Any] = {}
        self._opened: set[str] = set()
        self._optional: set[str] = set()
        self._extra: dict[str, str] = {}  # arguments that **kwargs hands on, and to whom
        self._arguments: Mapping[int | str, Any] = {}
        self._lacking: dict[tuple[int | str, str], str] = {}
        self._depth = 0
        self._even = False

    def begin(self) -> None:
        """Start an attempt."""
        self._made = {}
        self._optional = set()

    @property
    def assumed(self) -> dict[str, str]:
        """The values that the present attempt has assumed, as a report shows them."""
        texts = {key: self._slots[key].choice.text for key in self._made if key in self._slots}
        return {key: text for key, text in texts.items() if text}

    def ask(self, question: Question, usual: Any = None) -> Any:
        """Return an assumed value; the same one for the same question within an attempt.

        Args:
            question: What is asked.
            usual: A plain value to try first; none for None.
        """
        if question.key not in self._made:
            slot = self._slots.get(question.key)
            if slot is None:
                values = choices(question, self._makers)
                if usual is not None:
                    values = [suggested(usual), *values]
                slot = Slot(question, values)
                self._slots[question.key] = slot
            self._made[question.key] = None  # in this order in the report
            self._made[question.key] = slot.choice.make()
        return self._made[question.key]

    def options(self, question: Question, values: Mapping[str, Any] | None = None) -> Options:
        """Return an object of options that assumes those it does not know."""

        def ask(name: str) -> Any:
            uses = question.uses.attributes.get(name) or question.uses.keys.get(name)
            if uses is not None and uses.calls and all(call.ignored for call in uses.calls):
                return made.take  # a method that changes the options
            names = (name,)
            child = Question(f"{question.names[0]}.{name}", names, namespace=question.namespace)
            if uses is not None:
                child = Question(child.key, names, uses, namespace=question.namespace)
            return self.ask(child)

        made = Options(values or {}, ask)
        return made

    def construct(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a class or function, with assumed values for the required arguments not given."""
        if self._depth >= _DEEPEST:
            raise RecursionError(f"{function!r} needs itself to be built")
        self._depth += 1
        try:
            return function(*args, **kwargs, **self.missing(function, args, kwargs))
        finally:
            self._depth -= 1

    def missing(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return assumed values for the required arguments that are not given.

        Raises:
            TypeError: Those given do not fit.
        """
        try:
            signature = inspect.signature(function)
        except ValueError:
            return {}
        given = signature.bind_partial(*args, **kwargs).arguments
        found = {}
        for name, parameter in signature.parameters.items():
            if name in given or parameter.kind in _OPEN:
                continue
            if parameter.default is None and self._depth == 0:
                self._optional.add(name)
            if is_required(parameter) or (self._depth == 0 and name in self._opened):
                found[name] = self.ask(self.question(function, name, signature))
        if self._depth == 0 and any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            for name, callee in self._extra.items():
                if name not in given and name not in given.get("kwargs", {}):
                    found[name] = self.ask(self._handed_on(function, name, callee))
        return found

    def complete(self, arguments: Mapping[int | str, Any]) -> None:
        """Give arguments the attributes that earlier attempts have missed: options set elsewhere."""
        self._arguments = arguments
        for (place, name), owner in self._lacking.items():
            question = Question(f"{owner}.{name}", (name,))
            with contextlib.suppress(AttributeError, TypeError):
                setattr(arguments[place], name, self.ask(question))

    def _note_lacking(self, blame: Blame) -> bool:
        """Note the attribute that an argument lacks; tell whether it is a new one."""
        for place, value in self._arguments.items():
            key = (place, blame.attribute)
            if value is blame.owner and blame.attribute and key not in self._lacking:
                self._lacking[key] = type(value).__name__
                return True
        return False

    def wants_optional(self, blame: Blame) -> bool:
        """Tell whether a parameter's default of None is what the code cannot do with."""
        named = {name for names in blame.names for name in names}
        return blame.got is Form.NONE and bool((self._optional - self._opened) & named)

    def uses_of_global(self, model: Callable[..., Any], name: str) -> Uses:
        """Return what the code of a class or function does with a global."""
        return self._reader.uses_of_global(model, name)

    def _handed_on(self, function: Callable[..., Any], name: str, callee: str) -> Question:
        taker = Namespace.of(function).get(callee.partition(".")[0])
        if callable(taker):
            try:
                return self.question(taker, name, inspect.signature(taker))
            except (KeyError, ValueError):
                pass
        return Question(f"{getattr(function, '__name__', 'it')}({name})", (name,))

    def question(
        self, function: Callable[..., Any], name: str, signature: inspect.Signature, hint: str = ""
    ) -> Question:
        """Return the question for a parameter of a class or function."""
        return Question(
            f"{getattr(function, '__name__', 'it')}({name})",
            (name, hint) if hint and hint != name else (name,),
            self._reader.uses_of(function, name),
            signature.parameters[name].annotation,
            Namespace.of(function),
            frozenset(signature.parameters) - {name},
        )

    def learn(self, blame: Blame) -> bool:
        """Take other values in view of a failure; False where nothing is left to change."""
        if new := set(blame.missing) - self._extra.keys():
            self._extra |= dict.fromkeys(sorted(new), blame.callee)
            return True
        if self._note_lacking(blame):
            return True
        used = [self._slots[key] for key in self._made if key in self._slots]
        for names in blame.names:
            if blame.got is Form.NONE and (found := self._optional.intersection(names)):
                self._opened |= found
                return True
            named = [slot for slot in used if _is_called(slot, names)]
            if any(slot.offer(blame.offered) for slot in named):
                return True
            named.sort(key=lambda slot: _suspicion(slot, blame))
            if any(slot.move(blame.wanted) for slot in named):
                return True
        if blame.wanted is not None:
            alike = [slot for slot in used if slot.choice.form is blame.got]
            if any(slot.move(blame.wanted) for slot in reversed(alike)):
                return True
        return self._evened(used) or any(
            slot.move(None) for slot in used if slot.choice.form not in NUMBERS
        )

    def _evened(self, used: Sequence[Slot]) -> bool:
        """Give all widths one size, once: sums and residual paths then fit."""
        if self._even:
            return False
        self._even = True
        changed = False
        for slot in used:
            kinds = kinds_of(slot.question.names[0]) or (Kind.SIZE,)
            if slot.choice.form is not Form.INT or kinds[0] not in (Kind.SIZE, Kind.INPUTS):
                continue
            for index, choice in enumerate(slot.choices):
                if choice.text == str(WIDTH) and index != slot.at:
                    slot.at = index
                    slot.tried.add(index)
                    changed = True
        return changed


_OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _suspicion(slot: Slot, blame: Blame) -> tuple[bool, bool, bool]:
    """Return what puts the value that is most likely wrong first."""
    form = slot.choice.form
    fits = blame.wanted is not None and form in blame.wanted
    # An object of options stands in each line that reads one; the option itself is meant.
    return form is not blame.got, fits, not slot.choice.text


def _is_called(slot: Slot, names: Sequence[str]) -> bool:
    return any(name in names for name in (*slot.question.names, *slot.question.uses.names))
