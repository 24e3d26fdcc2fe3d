"""The rule non-finite (NNL801)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.causes import Cause, cause
from nnlint.linter.rules.probe.reading import DIVERGED, at, optimizer_of, parameter_at, short, words

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured, MeasuredNode, NonFinite, Operand, Site

# What attention masks are made with: -inf is meant there, and softmax makes 0 of it.
_MASKING = words(
    "masked_fill where full full_like new_full fill scalar_tensor triu tril add mul sub "
    "expand unsqueeze slice select view clone zeros_like"
)


class NonFiniteValue(ProbeRule):
    """A value or a gradient is NaN or infinite.

    ## What it does
    Names the first operation whose result, or whose gradient, is not finite, with the range of
    what it took. Where the data, a parameter, or the optimiser's step is the origin, it says that.

    ## Why is this bad?
    One NaN turns every weight into NaN at the next step. Nothing raises: the loss prints as nan,
    and where it is not looked at, the training goes on for hours.

    ## Example
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(16, 32)
            self.out = nn.Linear(32, 4)

        def forward(self, x):
            x = torch.log(F.relu(self.hidden(x)))
            return self.out(x)


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
    ```

    ## Use instead
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(16, 32)
            self.out = nn.Linear(32, 4)

        def forward(self, x):
            x = torch.log1p(F.relu(self.hidden(x)))
            return self.out(x)


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
    ```

    ## How it is decided
    The largest absolute value of every result and every gradient is measured at each step; it is
    NaN or infinite when any element is. Then the same step is made again, with the same random
    numbers, and each operation is looked at in turn: the first whose operands are finite and
    whose result is not is the origin. Masks of -inf that a softmax turns into 0 are meant and are
    not reported. An overflow after the loss has grown tenfold, under an optimiser that nnlint chose,
    is a note: that may be the learning rate's fault and not the model's.

    ## Known limits
    A few steps on one batch show what happens at the start of training. That nothing happened
    does not prove that nothing can.

    ## References
    - https://docs.pytorch.org/docs/stable/notes/autograd.html#gradients-for-non-differentiable-functions
    - Zhang et al., Detecting Numerical Bugs in Neural Network Architectures,
      https://doi.org/10.1145/3368089.3409720
    """

    name = "non-finite"
    code = "NNL801"
    severity = Severity.ERROR

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Report the first origin; what follows it is its doing."""
        origins = sorted(enumerate(measured.non_finite), key=lambda each: (each[1].step, each[0]))
        for _, found in origins:
            if _is_mask(found, measured):
                continue
            yield self._found(measured, found)
            return
        if measured.steps == 0:
            yield NotChecked("no step was measured")
            return
        bad = next((s for s, loss in enumerate(measured.losses) if not math.isfinite(loss)), None)
        if bad is not None and not origins:
            yield self.report(
                measured,
                None,
                f"the loss is {_value(measured.losses[bad])} at step {bad + 1}",
                help="the operation that made it so was not found; lower the learning rate, or probe "
                "with --device cpu",
                evidence={"step": bad + 1},
            )

    def _found(self, measured: Measured, found: NonFinite) -> Finding:
        why = cause(found, measured)
        node = next((n for n in measured.nodes if n.index == found.node), None)
        site = node.site if node is not None else None
        parameter = parameter_at(measured, found.parameter)
        if site is None and parameter is not None:
            site = parameter.site
        text = _sentence(measured, found, node, parameter.name if parameter else "")
        text = f"{text}: {why.text}" if why.text else text
        return self.report(
            measured,
            site,
            text,
            help=_help(measured, found, why),
            severity=_severity(measured, found, why),
            evidence={
                "step": found.step + 1,
                "phase": found.phase,
                "operator": short(node) if node is not None else None,
                "nans": found.nans,
                "infinities": found.infinities,
                "elements": found.elements,
                "operands": [_operand(each) for each in found.operands],
            },
            modules=_modules(site),
        )


def _modules(site: Site | None) -> list[str]:
    return [site.path] if site is not None and site.path else []


def _sentence(
    measured: Measured, found: NonFinite, node: MeasuredNode | None, parameter: str
) -> str:
    count = found.nans + found.infinities
    of = f"{count:,} of {found.elements:,} values" if found.elements else f"{count:,} values"
    kind = "NaN" if found.nans else "infinity"
    late = f" at step {found.step + 1}" if found.step else ""
    if found.phase == "input":
        what = f"`{parameter or found.input}`" if parameter or found.input else "the data"
        return f"{what} is not finite before the first operation ({kind} in {of})"
    if found.phase == "step":
        what = f"`{parameter}`" if parameter else "a parameter"
        return f"the optimiser's step {found.step + 1} makes {what} {kind} ({of})"
    name = f"`{short(node)}`" if node is not None else "an operation"
    where = f" in `{node.site.path}`" if node is not None and node.site.path else ""
    if node is not None and node.in_loss:
        where = " of the loss"
    low = "" if measured.precision == "float32" else _in_type(found)
    if found.phase == "backward":
        return f"the gradient of {name}{where} is {kind} in {of}{low}{late}"
    return f"{name}{where} gives {kind} in {of}{low}{late}"


def _in_type(found: NonFinite) -> str:
    dtype = next((each.dtype for each in found.operands if each.result), "")
    return f" of {dtype}" if dtype and dtype != "float32" else ""


def _help(measured: Measured, found: NonFinite, why: Cause) -> str:
    if found.step == 0 or found.phase in {"input", "step"}:
        return why.remedy
    rate = optimizer_of(measured)
    if not why.overflow:
        return f"{why.remedy}; it happens after {found.step} steps of {rate}"
    own = "" if measured.optimizer_given else " (--optimizer and --lr give yours)"
    return f"{why.remedy}; the steps before were finite, so {rate} may be too high{own}"


def _severity(measured: Measured, found: NonFinite, why: Cause) -> Severity | None:
    """Lower an overflow that a learning rate of our own choice has led to."""
    if not why.overflow or found.step == 0 or measured.optimizer_given:
        return None
    start, *later = measured.losses[: found.step + 1] or (0.0,)
    limit = DIVERGED * max(abs(start), 1e-6)
    # A loss that is NaN has left every limit.
    diverged = not all(abs(loss) <= limit for loss in later)
    return Severity.NOTE if diverged else Severity.WARNING


def _is_mask(found: NonFinite, measured: Measured) -> bool:
    """Return whether an infinity was put there as a mask and has done no harm."""
    if found.nans:
        return False
    if found.phase == "forward":
        node = next((n for n in measured.nodes if n.index == found.node), None)
        if node is None or short(node) not in _MASKING:
            return False
    elif found.phase != "input" or found.parameter is not None:
        return False
    loss = at(measured.losses, found.step)
    gradients = (at(p.gradient_abs_max, found.step) for p in measured.parameters)
    harmless = all(value is None or math.isfinite(value) for value in gradients)
    return loss is not None and math.isfinite(loss) and harmless


def _operand(operand: Operand) -> dict[str, object]:
    return {
        "name": operand.name,
        "minimum": _plain(operand.minimum),
        "maximum": _plain(operand.maximum),
        "non_finite": operand.non_finite,
        "dtype": operand.dtype,
        "result": operand.result,
    }


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else _value(value)


def _value(value: float) -> str:
    return "NaN" if math.isnan(value) else "infinity" if value > 0 else "-infinity"
