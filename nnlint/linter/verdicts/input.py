"""What inputs and targets look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnlint.linter.verdicts.base import Verdict

if TYPE_CHECKING:
    from nnlint.linter.experiments import Inputs, InputStatistics
    from nnlint.linter.measured import Measured

KIND = "input"
_LABELS_SHOWN = 4
# More different integers than this are no classes to count.
_LABELS_MOST = 100


def tell(found: Inputs, measured: Measured) -> Verdict:
    """Return the verdict."""
    broken = [each.name for each in found.tensors if each.nans or each.infinities]
    state = f"not finite in {', '.join(broken)}" if broken else "all finite"
    drawn = "" if measured.data == "user" else " (drawn at random)"
    text = f"{state}: {found.samples} samples of {len(found.tensors)} tensors{drawn}"
    return Verdict("input", "input", text, tuple(map(_line, found.tensors)))


def _line(each: InputStatistics) -> str:
    shape = "x".join(map(str, each.shape)) or "scalar"
    kind = "target " if each.target and each.name != "target" else ""
    text = f"{kind}{each.name} ({shape}, {each.dtype}): "
    if len(each.labels) > _LABELS_MOST:
        return text + f"{len(each.labels)} values from {each.minimum:g} to {each.maximum:g}"
    if each.labels:
        most = sorted(each.labels.items(), key=lambda item: (-item[1], item[0]))
        shown = ", ".join(f"{label} x{count}" for label, count in most[:_LABELS_SHOWN])
        more = f" and {len(most) - _LABELS_SHOWN} more" if len(most) > _LABELS_SHOWN else ""
        text += f"{len(most)} value{'s' * (len(most) != 1)}, {shown}{more}"
    else:
        text += (
            f"mean {each.mean:.3g}, standard deviation {each.standard_deviation:.3g}, from "
            f"{each.minimum:.4g} to {each.maximum:.4g}"
        )
    counts = ((each.nans, "NaN"), (each.infinities, "infinite"))
    text += "".join(f", {count:,} {word}" for count, word in counts if count)
    if each.repeated_samples and not each.target:
        text += f", {each.repeated_samples} samples equal to another"
    return text
