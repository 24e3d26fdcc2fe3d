"""Why an operation gives NaN or infinity, and what helps: by operator and range of its operands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlint.linter.rules.probe.reading import (
    CONVOLUTIONS,
    MAPS,
    RECURRENT,
    optimizer_of,
    short,
    words,
)

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured, NonFinite, Operand

# Largest finite value, and largest argument of exp that stays below it.
LARGEST = {"float16": 65504.0, "bfloat16": 3.39e38, "float32": 3.40e38, "float64": 1.8e308}
_EXP = {"float16": 11.09, "bfloat16": 88.7, "float32": 88.72, "float64": 709.8}
_LOGS = words("log log2 log10 xlogy")
_DIVISIONS = words("div divide true_divide reciprocal addcdiv floor_divide")
_ROOTS = words("sqrt rsqrt")
_EXPONENTIALS = words("exp exp2 expm1 sinh cosh")
_SOFTMAXES = words("softmax _softmax log_softmax _log_softmax")
_SPREADS = words("std var std_mean var_mean")
_ARCS = words("acos asin atanh acosh arccos arcsin arctanh")
_ATTENTION = words("scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu")
_SUMS = MAPS | RECURRENT | words("sum mean cumsum add sub mul square norm")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a value is not finite.

    Attributes:
        text: A clause that follows the finding's sentence after a colon, "" where nothing is known.
        remedy: What to do.
        overflow: Whether finite values grew beyond what the type holds, and no domain was left.
    """

    text: str
    remedy: str
    overflow: bool = False


def cause(found: NonFinite, measured: Measured) -> Cause:
    """Explain a value that is not finite."""
    operands = [each for each in found.operands if not each.result]
    if found.phase == "input":
        return _input(found, measured)
    if found.phase == "step":
        return Cause(
            optimizer_of(measured),
            "lower the learning rate, or clip gradients with torch.nn.utils.clip_grad_norm_ before "
            "the step",
            overflow=True,
        )
    node = next((n for n in measured.nodes if n.index == found.node), None)
    operator = short(node) if node is not None else ""
    if found.phase == "backward":
        return _backward(operator, operands)
    return _forward(operator, operands, found)


def _input(found: NonFinite, measured: Measured) -> Cause:
    if found.parameter is not None:
        return Cause("", "initialise it, or load another checkpoint")
    if measured.data == "user" and found.input:
        return Cause("", "clean the data: torch.isfinite(x).all() finds the samples")
    return Cause("", "give it finite values before training")


def _forward(operator: str, operands: list[Operand], found: NonFinite) -> Cause:
    first = operands[0] if operands else None
    last = operands[-1] if operands else None
    if first is not None and last is not None:
        if operator in _LOGS:
            return _log(last if operator == "xlogy" else first)
        if operator == "log1p" and first.minimum <= -1:
            return Cause(_reaches(first), "log1p needs values above -1: clamp first")
        if operator in _DIVISIONS:
            return _division(first, last, found)
        if operator in _ROOTS and first.minimum <= 0:
            return _root(operator, first)
        if operator in _EXPONENTIALS:
            return _exponential(first)
        if operator == "pow" and (power := _power(first, found)) is not None:
            return power
        if operator in _SPREADS and found.nans:
            return Cause(
                "the spread of a single value is undefined",
                "use correction=0, or more than one value",
            )
        if operator in _ARCS:
            return Cause(
                _between(first),
                "clamp to the inside of its domain, e.g. x.clamp(-1 + 1e-6, 1 - 1e-6)",
            )
        if operator in _SOFTMAXES | _ATTENTION and found.nans:
            masked = any(each.non_finite for each in operands)
            if masked:
                return Cause(
                    "a row is masked as a whole",
                    "leave one position of each row unmasked, or mask with a large finite number",
                )
    return _overflow(operator, operands, found)


def _log(operand: Operand) -> Cause:
    if operand.minimum < 0:
        return Cause(
            _reaches(operand),
            "make the operand positive, e.g. softplus(x), or clamp it: x.clamp(min=1e-6).log()",
        )
    if operand.minimum == 0:
        return Cause(
            "its operand reaches 0",
            "add a small constant or clamp first: x.clamp(min=1e-6).log(); the log of a softmax is "
            "log_softmax, that of a sigmoid logsigmoid",
        )
    return Cause(_between(operand), "keep the operand positive and finite")


def _division(first: Operand, last: Operand, found: NonFinite) -> Cause:
    divisor = last
    if divisor.minimum <= 0 <= divisor.maximum:
        nothing = "0 / 0" if found.nans and not found.infinities else "its divisor reaches 0"
        return Cause(nothing, "add a small constant to the divisor, or clamp it: y.clamp(min=1e-6)")
    return Cause(
        f"{_between(first)}, divided by {_between(divisor)}",
        "keep the divisor away from 0",
        overflow=True,
    )


def _root(operator: str, operand: Operand) -> Cause:
    if operand.minimum < 0:
        return Cause(_reaches(operand), "clamp the operand: x.clamp(min=1e-8)")
    return Cause(
        "its operand reaches 0", f"add a small constant inside the root: {operator}(x + 1e-8)"
    )


def _exponential(operand: Operand) -> Cause:
    limit = _EXP.get(operand.dtype, _EXP["float32"])
    return Cause(
        f"its operand goes up to {operand.maximum:.4g}, and exp overflows above {limit:g}",
        "subtract the maximum first, or use softmax, logsumexp or softplus, which do",
        overflow=True,
    )


def _power(operand: Operand, found: NonFinite) -> Cause | None:
    """Explain a power of which the exponent is not known; None for a plain overflow."""
    if found.nans and operand.minimum < 0:
        return Cause(
            f"{_reaches(operand)}, and a fractional power of that is undefined",
            "take the power of x.abs() or of x.clamp(min=1e-6)",
        )
    largest = max(abs(operand.minimum), abs(operand.maximum))
    if largest**2 > LARGEST.get(operand.dtype, LARGEST["float32"]):
        return None
    if operand.minimum <= 0 <= operand.maximum:
        return Cause("its operand reaches 0", "keep it away from 0, e.g. x.clamp(min=1e-6)")
    return None


def _overflow(operator: str, operands: list[Operand], found: NonFinite) -> Cause:
    dtype = next((each.dtype for each in found.operands if each.result and each.dtype), "")
    dtype = dtype or next((each.dtype for each in operands if each.dtype), "float32")
    biggest = max((max(abs(e.minimum), abs(e.maximum)) for e in operands), default=0.0)
    if any(each.non_finite for each in operands):
        return Cause("", "look at what it takes", overflow=False)
    text = (
        f"its operands go up to {biggest:.2g} and {dtype} ends at {LARGEST.get(dtype, 3.4e38):.3g}"
    )
    if dtype == "float16":
        remedy = (
            "use bfloat16, whose range is that of float32, or keep this operation in float32 with "
            "torch.autocast(..., enabled=False)"
        )
    elif operator in CONVOLUTIONS | MAPS | RECURRENT:
        remedy = "initialise the weights smaller, or normalise what goes in"
    elif operator in _SUMS:
        remedy = "scale the values down before, or normalise them"
    else:
        remedy = "keep its operands smaller"
    return Cause(text if operands else "", remedy, overflow=True)


def _backward(operator: str, operands: list[Operand]) -> Cause:
    zero = any(each.minimum <= 0 <= each.maximum for each in operands)
    if operator in {"sqrt", "rsqrt", "pow"} and zero:
        return Cause(
            "its derivative at 0 is infinite",
            "add a small constant inside the root: sqrt(x + 1e-8); or use torch.linalg.vector_norm, "
            "whose gradient at 0 is 0",
        )
    if operator in {"std", "std_mean"}:
        return Cause(
            "the derivative of a standard deviation of 0 is infinite",
            "add a small constant to the variance and take the root of that",
        )
    if operator in _DIVISIONS | _LOGS:
        what = "divisor" if operator in _DIVISIONS else "operand"
        return Cause(
            f"its {what} is 0 or close to it",
            "add a small constant to it, or clamp it: x.clamp(min=1e-6)",
        )
    if operator in _ARCS:
        return Cause(
            "its derivative at -1 and 1 is infinite",
            "clamp to the inside of its domain, e.g. x.clamp(-1 + 1e-6, 1 - 1e-6)",
        )
    if operator == "where":
        return Cause(
            "the branch that is not taken has an infinite derivative, and 0 times that is NaN",
            "make the operand safe before, e.g. x = torch.where(mask, x, 1), not only the result",
        )
    return Cause(
        "",
        "clip gradients with torch.nn.utils.clip_grad_norm_, or scale the weights or the loss down",
        overflow=True,
    )


def _reaches(operand: Operand) -> str:
    return f"its operand goes down to {operand.minimum:.4g}"


def _between(operand: Operand) -> str:
    return f"its operand lies between {operand.minimum:.4g} and {operand.maximum:.4g}"
