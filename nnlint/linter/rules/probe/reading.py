"""What the rules about probes read from a measurement: steps that count, names, neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeGuard

from nnlint.linter.findings import Related

if TYPE_CHECKING:
    from nnlint.linter.measured import Magnitudes, Measured, MeasuredNode, MeasuredParameter


def words(text: str) -> frozenset[str]:
    """Return the words of a text; names of operators are long as a list of strings."""
    return frozenset(text.split())


# Gradients are judged from here on: zero-initialised heads and branches have none at the first step.
FIRST_JUDGED = 1
# ... and where at least this many steps were made.
MIN_STEPS = 3
# A unit is judged over at least this many samples: in a batch of 16, healthy layers have 44 to 49 %
# of units that never fire.
MIN_SAMPLES = 256
# A loss that has grown by this factor has left its start.
DIVERGED = 10.0
# Smallest relative difference of two numbers, by the arithmetic of a probe.
EPSILON = {
    "float32": 2.0**-23,
    "bfloat16": 2.0**-8,
    "autocast": 2.0**-8,
    "autocast-float16": 2.0**-10,
}
# Operators that pass values on as they are, or only some of them.
PASSING = words(
    "view _unsafe_view reshape flatten unflatten permute transpose t contiguous clone alias to _to_copy "
    "expand squeeze unsqueeze select slice narrow getitem unbind split split_with_sizes chunk dropout "
    "native_dropout feature_dropout alpha_dropout movedim swapaxes detach identity pad roll "
    "constant_pad_nd pixel_shuffle repeat"
)
CONVOLUTIONS = words(
    "conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d"
)
# Linear maps of the incoming values by a parameter.
MAPS = CONVOLUTIONS | words("linear addmm mm matmul bmm baddbmm einsum")
RECURRENT = words("lstm gru rnn_tanh rnn_relu")
BATCH_NORMS = words(
    "batch_norm native_batch_norm cudnn_batch_norm instance_norm _batch_norm_with_update "
    "_native_batch_norm_legit"
)
NORMS = BATCH_NORMS | words("layer_norm native_layer_norm group_norm native_group_norm rms_norm")


def is_finite(value: float | None) -> TypeGuard[float]:
    """Return whether something was measured, and is a number."""
    return value is not None and math.isfinite(value)


def at(values: Magnitudes, step: int) -> float | None:
    """Return a value of one step, None where there is none."""
    return values[step] if 0 <= step < len(values) else None


def short(node: MeasuredNode) -> str:
    """Return "relu" for "aten.relu_.default"."""
    parts = node.operator.split(".")
    name = parts[1] if len(parts) > 1 else parts[0]
    return name.removesuffix("_")


def sound_steps(measured: Measured) -> int:
    """Return how many steps came before the first one with a value that is not finite.

    A mean square that overflows counts as well: nothing can be compared with it.
    """
    count = measured.steps
    for step, loss in enumerate(measured.losses):
        if not math.isfinite(loss):
            count = min(count, step)
    for parameter in measured.parameters:
        for series in (parameter.gradient_abs_max, parameter.gradient_rms):
            for step, value in enumerate(series[:count]):
                if value is not None and not math.isfinite(value):
                    count = min(count, step)
    return count


def calm_steps(measured: Measured) -> int:
    """Return how many sound steps came before the loss had grown tenfold."""
    count = sound_steps(measured)
    start, *later = measured.losses[:count] or (0.0,)
    limit = DIVERGED * max(abs(start), 1e-6)
    return next((step for step, loss in enumerate(later, 1) if abs(loss) > limit), count)


def users_of(measured: Measured) -> dict[int, list[MeasuredNode]]:
    """Return the operations that take each operation's result, in order."""
    users: dict[int, list[MeasuredNode]] = {}
    for node in measured.nodes:
        for source in node.inputs:
            users.setdefault(source, []).append(node)
    return users


def passed_to(
    node: MeasuredNode, users: dict[int, list[MeasuredNode]], through: frozenset[str] = PASSING
) -> Iterator[MeasuredNode]:
    """Yield the operations that a value reaches, looking through those that only pass it on."""
    waiting = list(reversed(users.get(node.index, ())))
    seen: set[int] = set()
    while waiting:
        user = waiting.pop()
        if user.index in seen:
            continue
        seen.add(user.index)
        if short(user) in through and not user.in_loss:
            waiting.extend(reversed(users.get(user.index, ())))
        else:
            yield user


def by_index(measured: Measured) -> dict[int, MeasuredNode]:
    """Return the operations by position."""
    return {node.index: node for node in measured.nodes}


def parameter_at(measured: Measured, position: int | None) -> MeasuredParameter | None:
    """Return a parameter by position, None where there is none."""
    if position is None or not 0 <= position < len(measured.parameters):
        return None
    return measured.parameters[position]


def nodes_of(parameter: MeasuredParameter, known: dict[int, MeasuredNode]) -> list[MeasuredNode]:
    """Return the operations that take a parameter."""
    return [known[index] for index in parameter.nodes if index in known]


def owner(parameter: MeasuredParameter) -> str:
    """Return the path of the layer that a parameter belongs to."""
    return parameter.site.path or parameter.name.rpartition(".")[0]


def is_bias(parameter: MeasuredParameter) -> bool:
    """Return whether a parameter is a vector that is called a bias."""
    return len(parameter.shape) == 1 and "bias" in parameter.name.rpartition(".")[2]


def listing(names: Iterable[str], limit: int = 3) -> str:
    """Join names for a message: `a`, `b` and 3 more."""
    found = [f"`{name}`" for name in dict.fromkeys(names)]
    if len(found) > limit:
        return f"{', '.join(found[: limit - 1])} and {len(found) - limit + 1} more"
    return " and ".join([", ".join(found[:-1]), found[-1]]) if len(found) > 1 else "".join(found)


def places(parameters: Iterable[MeasuredParameter], limit: int = 5) -> list[Related]:
    """Return where the layers of some parameters stand, each once."""
    found: dict[Related, None] = {}
    for parameter in parameters:
        site = parameter.site
        place = site.built or site.location or site.call
        if place is not None and len(found) < limit:
            verb = "is built" if site.built is not None else "stands"
            found[Related(place, f"`{owner(parameter) or parameter.name}` {verb} here")] = None
    return list(found)


def times(factor: float) -> str:
    """Write a factor for people: "4.2", "350", "170,000", "2.2e7"."""
    if not math.isfinite(factor):
        return "infinitely many"
    if factor < 10:
        return f"{factor:.1f}"
    if factor < 1e6:
        digits = math.floor(math.log10(factor)) - 1
        return f"{round(factor / 10**digits) * 10**digits:,}"
    mantissa, _, exponent = f"{factor:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def optimizer_of(measured: Measured) -> str:
    """Write the optimiser and its rate for people: "AdamW at learning rate 0.001"."""
    name = {"sgd": "SGD", "adamw": "AdamW"}.get(measured.optimizer, measured.optimizer)
    return f"{name} at learning rate {measured.learning_rate:g}"


def without_steps(measured: Measured) -> str:
    """Return why gradients cannot be judged over steps, "" where they can."""
    sound = sound_steps(measured)
    if measured.steps == 0:
        return "no step was measured"
    if sound < measured.steps and sound < MIN_STEPS:
        return "values stop being finite before gradients can be judged"
    if sound < MIN_STEPS:
        return f"gradients are judged over {MIN_STEPS} steps, and {sound} were made"
    return ""
