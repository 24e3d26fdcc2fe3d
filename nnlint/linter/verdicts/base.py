"""What a verdict is, and how the files that tell it are found."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured


@dataclass(frozen=True, slots=True)
class Curve:
    """Numbers over steps.

    Attributes:
        label: What they are.
        values: In order; may be NaN or infinite.
        ceiling: Values above it are drawn as high as it, None for no limit.
        floor: What is drawn lowest, None for the least value.
    """

    label: str
    values: tuple[float, ...]
    ceiling: float | None = None
    floor: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one experiment found.

    Attributes:
        name: Of the experiment, "lr-range".
        label: The same for people, "learning rate".
        text: One sentence without a period, the verdict first.
        lines: Further sentences.
        curves: What is worth a drawing.
    """

    name: str
    label: str
    text: str
    lines: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()


class Telling(Protocol):
    """The module of one kind."""

    KIND: str

    def tell(self, found: Any, measured: Measured) -> Verdict:
        """Return the verdict of one experiment."""


@functools.cache
def _telling() -> Mapping[str, Telling]:
    package = __name__.rpartition(".")[0]
    modules = [
        importlib.import_module(f"{package}.{info.name}")
        for info in pkgutil.iter_modules(importlib.import_module(package).__path__)
    ]
    return {module.KIND: cast("Telling", module) for module in modules if hasattr(module, "KIND")}


def verdicts(measured: Measured) -> Iterator[Verdict]:
    """Yield what each experiment found, in the order in which they were asked for.

    Gradients have none: their table says it. An experiment that was skipped, or without a result,
    has one that says why.
    """
    experiments = measured.experiments
    for name in experiments.asked:
        if name in experiments.skipped:
            yield Verdict(name, "skipped", f"{name}: {experiments.skipped[name]}")
            continue
        module = _telling().get(name.replace("-", "_"))
        if module is None:
            continue
        found = getattr(experiments, module.KIND)
        if found is None:
            yield Verdict(name, "no result", f"{name}: the probe ended before it did")
        else:
            yield module.tell(found, measured)
