"""What discovery finds in a file: the models to lint, and what becomes of their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nnlint.linter.discover.recipes import Construction
from nnlint.linter.findings import Location


class _Unknown:
    """The value of an expression that is not a literal."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()


@dataclass(frozen=True, slots=True)
class Step:
    """One operation that the caller applies to a model's output on its way to a sink.

    Attributes:
        kind: "item" (out[0], out["x"], tuple unpacking), "attr" (out.logits), "method"
            (out.view(...)), or "call" (F.log_softmax(out, dim=1), nn.Softmax(dim=1)(out)).
        name: The key's repr, the attribute or method name, or the callable's dotted name
            ("torch.nn.functional.log_softmax", "torch.nn.Softmax").
        args: Positional arguments after the value itself, literals or UNKNOWN.
        kwargs: Keyword arguments, literals or UNKNOWN (for a module: its constructor's).
        key: The subscript for "item".
    """

    kind: Literal["item", "attr", "method", "call"]
    name: str
    location: Location
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    key: Any = None


@dataclass(frozen=True, slots=True)
class OutputUse:
    """One place where a model's output ends, or means something: a criterion, an argmax, a log.

    Attributes:
        sink: Dotted name of what takes it: "torch.nn.CrossEntropyLoss",
            "torch.nn.functional.nll_loss", "torch.argmax".
        steps: What happens in between, in order.
        args: Further literal arguments of the sink (constructor and call), UNKNOWN elsewhere.
        kwargs: Likewise by keyword.
        training: False where only evaluation code does this (no_grad, after eval()).
        target_steps: How the labels were made, as dotted names, e.g.
            ("torch.nn.functional.one_hot", ".float").
        slot: Which argument of the sink the output is: 0 for the prediction.
        through: Line of the call model(...) that gave the output.
        certain: False where the sink, or the way to it, is one of several chosen at run time.
        conditions: What must hold of the model's own attributes for this use to happen, as in
            "model.classes == 2". See `nnlint.linter.discover.conditions`.
    """

    sink: str
    location: Location
    steps: tuple[Step, ...] = ()
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    training: bool = True
    target_steps: tuple[str, ...] = ()
    slot: int = 0
    through: Location | None = None
    certain: bool = True
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """One model of a file.

    Attributes:
        name: As it stands in the file: "Net", "resnet18", "model".
        kind: "class" (build it by calling), "factory" (call the function), "instance" (a
            module-level variable).
        location: The `class` or `def` line (the name), or the assignment.
        class_name: The model's class where known, else "".
        required: Constructor or factory parameters without a default.
        constructions: How the project builds it, those that leave least to assume first. For an
            instance: how its class can be built in its place.
        uses: Where its output goes, in its own file or in another one of the project.
        passed: Names of optional forward parameters that calls in this file, or a loss inside
            forward, need; the others keep their defaults while tracing.
        lightning: Whether it is a LightningModule.
        written: Whether code outside of its class may write its parameters once it is built.
    """

    name: str
    kind: Literal["class", "factory", "instance"]
    location: Location
    class_name: str = ""
    required: tuple[str, ...] = ()
    constructions: tuple[Construction, ...] = ()
    uses: tuple[OutputUse, ...] = ()
    passed: frozenset[str] = frozenset()
    lightning: bool = False
    written: bool = False
