"""Which parameters are independent draws, so that another order of them is another draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch.nn.parameter import is_lazy

from nnlint.linter.load.initialised import Write, recorded, writes

if TYPE_CHECKING:
    from torch import nn

# What draws every element alike and by itself.
_DRAWS = frozenset(
    {"uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_"}
    | {"kaiming_uniform_", "kaiming_normal_", "random_", "bernoulli_", "exponential_"}
    | {"cauchy_", "log_normal_", "geometric_"}
    | {"rand", "randn", "rand_like", "randn_like", "randint", "normal"}
)
# What then treats every element alike. Its other operand is not on record, but is a number as a rule.
_SCALES = frozenset({"mul_", "div_", "clamp_"})
# What writes nothing.
_NEUTRAL = frozenset({"requires_grad_", "detach_", "share_memory_"})


def redrawable(module: nn.Module | None, name: str) -> bool:
    """Tell whether the elements of a parameter are independent draws from one distribution.

    Where nothing was recorded, as for a live module, those of two dimensions and more are taken for
    it: what torch and most code begin with. Biases and scales are often constants there.

    Args:
        module: Owns the parameter.
        name: Of the parameter in it.
    """
    parameter = None if module is None else module._parameters.get(name)  # noqa: SLF001 - named_parameters would leave out tied ones
    if module is None or parameter is None or not parameter.is_floating_point():
        return False
    if not recorded(module) or is_lazy(parameter):
        return is_lazy(parameter) or parameter.dim() >= 2
    return _drawn(writes(module, name))


def _drawn(found: Sequence[Write]) -> bool:
    for write in reversed(found):
        if write.name in _DRAWS:
            return True
        if write.name not in _SCALES | _NEUTRAL:
            return False
    return False
