"""What a lint run says: findings, the outcome of each check, and the report that holds them.

Plain data without torch. It crosses the process boundary between the worker that loads the
user's file and the command line, so each class has `to_dict` and `from_dict`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from nnlint.linter.comparison import Comparison
    from nnlint.linter.probed import Probed


class Severity(enum.StrEnum):
    """How certain a finding is: error = certainly wrong, warning = likely, note = waste or style."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """Order of severities: 3 for error, 2 for warning, 1 for note."""
        return {"error": 3, "warning": 2, "note": 1}[self.value]


class Outcome(enum.StrEnum):
    """How one check of one model ended."""

    FOUND = "found"
    PASSED = "passed"
    NOT_CHECKED = "not-checked"


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A range in a source file, on one line wherever possible.

    Lines and columns count from 1; columns count Unicode characters; `end_column` is one past the
    last character (as in SARIF). In a notebook lines count over its code cells together;
    `nnlint.linter.notebook.located` tells the cell and the line in it.
    """

    path: str
    line: int
    column: int = 1
    end_line: int = 0
    end_column: int = 0

    def __post_init__(self) -> None:
        if self.end_line < self.line:
            object.__setattr__(self, "end_line", self.line)
        if self.end_line == self.line and self.end_column <= self.column:
            object.__setattr__(self, "end_column", self.column + 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the location as JSON-compatible data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Location:
        """Read what `to_dict` wrote."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Related:
    """A second place that belongs to a finding.

    Attributes:
        role: "built" (the line that builds the layer), "call" (the line in forward), "class" (the
            model's class line), "loss" (where the loss is computed), or "evidence" (anything else).
    """

    location: Location
    message: str
    role: Literal["built", "call", "class", "loss", "evidence"] = "evidence"

    def to_dict(self) -> dict[str, Any]:
        """Return the place as JSON-compatible data."""
        return {"location": self.location.to_dict(), "message": self.message, "role": self.role}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Related:
        """Read what `to_dict` wrote."""
        return cls(Location.from_dict(data["location"]), data["message"], data["role"])


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say to the user, at one place of their code.

    Attributes:
        rule: Kebab-case rule name, e.g. "softmax-before-cross-entropy".
        code: Permanent code, e.g. "NNL101".
        message: One short sentence, without a final period, with the number that matters.
        help: What to do next, one or two sentences; may be empty.
        model: Display name of the model (class, factory or instance), or "" for a file finding.
        modules: Qualified module paths that the finding holds for ("features.3"), may be empty.
        evidence: JSON-compatible numbers and names behind the message.
        related: Other places, most useful first.
    """

    rule: str
    code: str
    severity: Severity
    message: str
    location: Location
    help: str = ""
    model: str = ""
    modules: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    related: tuple[Related, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-compatible data."""
        return {
            "rule": self.rule,
            "code": self.code,
            "severity": self.severity.value,
            "message": self.message,
            "location": self.location.to_dict(),
            "help": self.help,
            "model": self.model,
            "modules": list(self.modules),
            "evidence": dict(self.evidence),
            "related": [place.to_dict() for place in self.related],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        """Read what `to_dict` wrote."""
        return cls(
            rule=data["rule"],
            code=data["code"],
            severity=Severity(data["severity"]),
            message=data["message"],
            location=Location.from_dict(data["location"]),
            help=data["help"],
            model=data["model"],
            modules=tuple(data["modules"]),
            evidence=data["evidence"],
            related=tuple(Related.from_dict(place) for place in data["related"]),
        )


@dataclass(frozen=True, slots=True)
class Check:
    """How one rule ended on one model: found, passed, or not checked with the reason."""

    rule: str
    code: str
    model: str
    outcome: Outcome
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the check as JSON-compatible data."""
        return {**dataclasses.asdict(self), "outcome": self.outcome.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Check:
        """Read what `to_dict` wrote."""
        return cls(**{**data, "outcome": Outcome(data["outcome"])})


Obstacle = Literal[
    "arguments",  # no value for a constructor argument, and none that could be assumed
    "missing-package",  # something of a package that is not installed is needed
    "base-not-installed",  # the class derives from a class of such a package
    "python-2",
    "syntax",
    "import",  # a definition that the model needs raises
    "build",  # the constructor raises
    "inputs",  # no input was found that forward takes
    "trace",  # forward cannot be traced
    "forward",  # forward raises for certain
    "no-module",  # what is built is no module, or several
    "limit",  # time or memory
    "crash",
    "internal",  # a defect of nnlint
]


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What became of one model of a file.

    Attributes:
        name: Class, factory or instance name as it stands in the file.
        path: The file, as the user gave it.
        line: Line of its definition.
        analysed: Whether the rules saw its graph.
        reason: Why it was not analysed; "" when it was.
        capture: How the graph was taken, None when there is none.
        obstacle: The kind of `reason`.
        class_name: Name of the model's class, "" where it is not known.
        assumed: Arguments that the source does not tell, "Net(num_classes)" -> "10", with the
            values they were given so that the model could be built.
    """

    name: str
    path: str
    line: int
    analysed: bool
    reason: str = ""
    capture: Literal["fx", "run"] | None = None
    obstacle: Obstacle | Literal[""] = ""
    class_name: str = ""
    assumed: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the model report as JSON-compatible data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelReport:
        """Read what `to_dict` wrote."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a lint run; truthy when clean, i.e. without error and warning.

    Attributes:
        findings: Sorted by path, line, column and code.
        suppressed: Findings that a comment in the source asked to hide.
        sources: Text of each file that a finding points at, for the code frames.
        probes: What became of the probe of each model; empty after a lint.
        comparison: What has changed since an earlier probe, where one was given.
    """

    findings: tuple[Finding, ...] = ()
    models: tuple[ModelReport, ...] = ()
    checks: tuple[Check, ...] = ()
    suppressed: tuple[Finding, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    probes: tuple[Probed, ...] = ()
    comparison: Comparison | None = None

    def __bool__(self) -> bool:
        return self.worst is None or self.worst is Severity.NOTE

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __str__(self) -> str:
        from nnlint.linter.table import render

        return render(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # What a notebook shows for a report at the end of a cell.
        printer.text("Report(...)" if cycle else str(self))

    def _repr_html_(self) -> str:
        # The same in a notebook that shows HTML.
        from nnlint.linter.fragment import fragment

        return fragment(self)

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def worst(self) -> Severity | None:
        """The highest severity among the findings, None when there are none."""
        return max((f.severity for f in self.findings), key=lambda s: s.rank, default=None)

    def count(self, outcome: Outcome) -> int:
        """Return how many checks ended with `outcome`."""
        return sum(check.outcome is outcome for check in self.checks)
