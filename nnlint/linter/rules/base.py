"""What a rule is: metadata, documentation, and a pure function of the graph."""

from __future__ import annotations

import enum
import functools
import importlib
import inspect
import pkgutil
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from nnlint.linter.findings import Finding, Location, Related, Severity

if TYPE_CHECKING:
    from nnlint.linter.graph import ModelGraph, Node
    from nnlint.linter.measured import Measured, Site

HEADINGS = (
    "What it does",
    "Why is this bad?",
    "Example",
    "Use instead",
    "How it is decided",
    "Known limits",
    "References",
)


class Category(enum.StrEnum):
    """What kind of trouble a rule is about."""

    LOSS = "loss"
    INITIALISATION = "initialisation"
    NORMALISATION = "normalisation"
    ACTIVATION = "activation"
    WIRING = "wiring"
    NUMERICS = "numerics"
    PROBE = "probe"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Yielded by a rule that cannot decide, with the reason as a short clause."""

    reason: str


class Rule(ABC):
    """Base class of all rules. One file each; found by walking the package.

    A subclass's docstring starts with one sentence and has the seven `HEADINGS`; the code blocks
    under "Example" and "Use instead" are whole model files: the first must fire, the second must
    stay silent, and a test runs both.
    """

    name: ClassVar[str]
    """Kebab-case name of the bad pattern."""
    code: ClassVar[str]
    """Permanent code, NNL and three digits."""
    severity: ClassVar[Severity]
    """Severity of most findings; `finding` may lower it for one."""
    category: ClassVar[Category]
    since: ClassVar[str] = "0.1.0"
    """Version that brought the rule."""
    default: ClassVar[bool] = True
    """Whether the rule runs without being selected by name."""
    probe: ClassVar[str] = ""
    """Name of the probe finding that can confirm or refute a static one, or ""."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if inspect.isabstract(cls) or "name" not in cls.__dict__:
            return
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", cls.name), cls.name
        # A name is the bad pattern, not the rule against it; a probe may measure that there is none.
        forbidden = ("use-", "avoid-") if issubclass(cls, ProbeRule) else ("no-", "use-", "avoid-")
        assert not cls.name.startswith(forbidden), cls.name
        assert re.fullmatch(r"NNL\d{3}", cls.code), cls.code
        missing = [h for h in HEADINGS if f"## {h}\n" not in (cls.__doc__ or "")]
        assert not missing, f"{cls.name} lacks the doc headings {missing}"

    @abstractmethod
    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield what is wrong with the model, or why it cannot be judged.

        No finding and no `NotChecked` means that the model passed. The graph is never changed,
        the model never called.
        """

    def finding(
        self,
        graph: ModelGraph,
        at: Node | Location | None,
        message: str,
        *,
        help: str = "",  # noqa: A002 - the word that the report uses
        severity: Severity | None = None,
        related: Iterable[Related] = (),
        evidence: Mapping[str, Any] | None = None,
        modules: Iterable[str] = (),
    ) -> Finding:
        """Build a finding at a node (with its built and call lines related) or at a location.

        Falls back to the model's class line where the place is unknown.
        """
        places = list(related)
        location = at if isinstance(at, Location) else None
        paths = tuple(modules)
        if at is not None and not isinstance(at, Location):
            location = at.location
            paths = paths or ((at.path,) if at.path else ())
            for place, text, role in (
                (at.built, "the layer is built here", "built"),
                (at.call, "it is called here", "call"),
            ):
                if place is not None and place != location:
                    places.append(Related(place, text, role))  # type: ignore[arg-type] # literals above
        if location != graph.location:
            places.append(Related(graph.location, f"{graph.name} is defined here", "class"))
        return Finding(
            rule=self.name,
            code=self.code,
            severity=severity or self.severity,
            message=message,
            location=location or graph.location,
            help=help,
            model=graph.name,
            modules=paths,
            evidence=dict(evidence or {}),
            related=tuple(dict.fromkeys(places)),
        )

    @classmethod
    def summary(cls) -> str:
        """Return the first sentence of the documentation."""
        return inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")

    @classmethod
    def sections(cls) -> dict[str, str]:
        """Return the documentation by heading."""
        parts = re.split(r"^## (.+)\n", inspect.cleandoc(cls.__doc__ or ""), flags=re.MULTILINE)
        return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}

    @classmethod
    def example(cls, heading: str) -> str:
        """Return the first Python block under a heading ("Example" or "Use instead")."""
        found = re.search(r"```python\n(.*?)```", cls.sections()[heading], flags=re.DOTALL)
        assert found, f"{cls.name} has no example under {heading!r}"
        return found[1]


class ToolRule(Rule):
    """A rule that nnlint itself reports while it loads and traces; it never looks at a graph."""

    category = Category.TOOL
    example_fires: ClassVar[bool] = True
    """Whether the code under "Example" can make the rule fire; a defect of nnlint cannot be shown."""

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:  # noqa: ARG002 - the base's signature
        """Yield nothing: the engine makes these findings."""
        return iter(())


class ProbeRule(Rule):
    """A rule that judges what a probe measured; a lint passes over it.

    The model files under "Example" and "Use instead" are probed, not linted.
    """

    category = Category.PROBE
    # The experiment whose outcome it judges; a rule is passed over where another one was asked for.
    experiment: ClassVar[str] = "gradients"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:  # noqa: ARG002 - the base's signature
        """Yield nothing: the graph alone does not show it."""
        return iter(())

    @abstractmethod
    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Yield what the measurement shows, or why it cannot be judged.

        No finding and no `NotChecked` means that the model passed. Any value may be missing, NaN
        or infinite, and any list shorter than the others.
        """

    def report(
        self,
        measured: Measured,
        at: Site | None,
        message: str,
        *,
        help: str = "",  # noqa: A002 - the word that the report uses
        severity: Severity | None = None,
        related: Iterable[Related] = (),
        evidence: Mapping[str, Any] | None = None,
        modules: Iterable[str] = (),
    ) -> Finding:
        """Build a finding at a place of the measured model, with its built and call lines related.

        Falls back to the line of the model where the place is unknown.
        """
        places: list[Related] = []
        location = None if at is None else at.location or at.call or at.built
        if at is not None:
            if at.built is not None and at.built != location:
                places.append(Related(at.built, "the layer is built here", "built"))
            if at.call is not None and at.call != location:
                places.append(Related(at.call, "it is called here", "call"))
        places += related
        if location is not None and location != measured.location:
            text = f"{measured.model} is defined here"
            places.append(Related(measured.location, text, "class"))
        paths = tuple(dict.fromkeys(modules)) or ((at.path,) if at is not None and at.path else ())
        return Finding(
            rule=self.name,
            code=self.code,
            severity=severity or self.severity,
            message=message,
            location=location or measured.location,
            help=help,
            model=measured.model,
            modules=paths,
            evidence=dict(evidence or {}),
            related=tuple(dict.fromkeys(places)),
        )


@functools.cache
def all_rules() -> tuple[type[Rule], ...]:
    """Return every rule class of the package, sorted by code; imports no torch."""
    package = importlib.import_module(__package__ or "nnlint.linter.rules")
    found: dict[str, type[Rule]] = {}
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Rule) and "name" in value.__dict__:
                assert found.setdefault(value.code, value) is value, f"two rules have {value.code}"
    return tuple(found[code] for code in sorted(found))


@functools.cache
def rule_by_key() -> dict[str, type[Rule]]:
    """Return the rules by name and by code."""
    return {key: rule for rule in all_rules() for key in (rule.name, rule.code)}
