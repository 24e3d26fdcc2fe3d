"""Whether samples are independent of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnlint.linter.rules.probe.reading import by_index, short
from nnlint.linter.verdicts.base import Verdict

if TYPE_CHECKING:
    from nnlint.linter.experiments import Isolation, Leak
    from nnlint.linter.measured import Measured

KIND = "isolation"


def tell(found: Isolation, measured: Measured) -> Verdict:
    """Return the verdict."""
    count = f"{found.compared} output{'s' * (found.compared != 1)} compared"
    if not found.compared:
        text = "no output has a value for each sample"
    elif not found.leaks:
        text = f"{count}, none depends on another sample"
    else:
        leaking = len({leak.output for leak in found.leaks})
        text = f"{count}, {leaking} depend{'s' * (leaking == 1)} on other samples"
        if found.batch_statistics:
            text += ", as batch norm without running statistics does"
    lines = tuple(_leak(leak, measured) for leak in found.leaks)
    return Verdict("isolation", "isolation", text, lines)


def _leak(leak: Leak, measured: Measured) -> str:
    node = by_index(measured).get(-1 if leak.node is None else leak.node)
    where = ""
    if node is not None:
        place = node.site.location or node.site.call
        where = f", first in {short(node)}"
        where += f" of {node.site.path}" if node.site.path else ""
        where += f" at line {place.line}" if place is not None else ""
    samples = f"{leak.samples} sample{'s' * (leak.samples != 1)}"
    return f"output {leak.output}: {samples} changed by {100 * leak.change:.2g} %{where}"
