"""From what is known of a model's loss to modules that compute it from the model's output."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree

from nnlint.errors import CaptureError, UsageError
from nnlint.linter.discover import sinks
from nnlint.linter.discover.targets import UNKNOWN, OutputUse, Step, Target
from nnlint.linter.findings import Location
from nnlint.linter.notebook import line_of, running, written
from nnlint.linter.operators.base import resolve
from nnlint.linter.trace.stitch import operator_of
from nnlint.probe_service.capture import drawing
from nnlint.probe_service.capture.feed import Feed

Source = Literal["given", "found", "forward", "stand-in"]
# Losses whose two tensors may change places.
_SYMMETRIC = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"})


class Term(nn.Module):
    """One loss: the way from the model's output to it, and its function.

    Attributes:
        kind: Canonical name of a loss that labels can be drawn for, "" for any other.
        criterion: Takes the output and the labels.
        steps: What is done to the output first.
        slot: Which argument of the criterion the output is.
        options: Literal arguments that it was made or called with.
        label: For people.
        location: Where the user's code computes it.
    """

    def __init__(
        self,
        kind: str,
        criterion: Callable[..., Any],
        *,
        label: str,
        steps: Sequence[Callable[[Any], Any]] = (),
        slot: int = 0,
        options: Mapping[str, Any] | None = None,
        location: Location | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.criterion = criterion
        self.steps = tuple(steps)
        self.slot = slot
        self.options = dict(options or {})
        self.label = label
        self.location = location

    def select(self, output: Any) -> Any:
        """Return what of the model's output the loss takes."""
        for step in self.steps:
            output = step(output)
        return first_tensor(output) if self.kind else output

    def targets(self, output: Any) -> tuple[Feed, ...]:
        """Return the labels of this loss, drawn.

        Raises:
            CaptureError: They cannot be drawn.
        """
        if not self.kind:
            raise CaptureError(
                f"labels for {self.label} cannot be drawn",
                hint="Give a batch of your own, labels included.",
            )
        value = self.select(output)
        if not isinstance(value, torch.Tensor):
            raise CaptureError(f"forward returns no tensor that {self.label} could take")
        return drawing.targets(self.kind, value, self.options)

    def forward(self, output: Any, *targets: torch.Tensor) -> torch.Tensor:
        """Return the loss as a scalar."""
        tensors = list(targets)
        tensors.insert(self.slot, self.select(output))
        loss = self.criterion(*tensors)
        if not isinstance(loss, torch.Tensor):
            raise CaptureError(f"{self.label} gives a {type(loss).__name__}, not a tensor")
        return loss.mean() if loss.dim() else loss


class ForwardLoss(nn.Module):
    """The loss, or the losses, that forward itself returns."""

    label = "the loss that forward returns"
    location: Location | None = None
    kind = ""

    def targets(self, output: Any) -> tuple[Feed, ...]:
        """Return none: forward takes its labels as inputs."""
        del output
        return ()

    def forward(self, output: Any, *targets: torch.Tensor) -> torch.Tensor:
        """Return the sum of the losses as a scalar."""
        del targets
        losses = [each.reshape(()) if each.dim() else each for each in forward_losses(output)]
        total = losses[0]
        for each in losses[1:]:
            total = total + each
        return total


@dataclass(frozen=True, slots=True)
class Plan:
    """Which loss a step has.

    Attributes:
        terms: Their sum is the loss; empty where the model's output has to tell.
        source: Where it comes from.
        notes: What the user should know.
    """

    terms: tuple[Term | ForwardLoss, ...] = ()
    source: Source = "found"
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """For people: "cross_entropy at train.py:30"."""
        return " + ".join(
            f"{t.label} at {_place(t.location)}" if t.location else t.label for t in self.terms
        )


def _place(location: Location) -> str:
    return written(location.path, location.line, running(location.path))


def plan(target: Target, loss: Any) -> Plan:
    """Return the losses that are given or found; no terms where there are none.

    Args:
        target: What discovery knows of the model.
        loss: A module, function or name, None or "" to take what was found.

    Raises:
        UsageError: The name is of no loss.
        CaptureError: Labels for the named loss cannot be drawn.
    """
    if loss is not None and loss != "":
        return Plan((_given(loss),), "given")
    uses = [use for use in target.uses if use.training and sinks.loss(use.sink)]
    notes: list[str] = []
    chosen = [use for use in uses if use.certain] or uses[:1]
    if chosen and not chosen[0].certain:
        notes.append(
            "which loss is used is decided at run time: the first one, at "
            f"{line_of(chosen[0].location)}, was taken"
        )
    terms: list[Term] = []
    refused: list[str] = []
    for use in _of_one_call(chosen):
        try:
            term, remarks = _found(use)
        except CaptureError as error:
            refused.append(str(error))
            continue
        terms.append(term)
        notes += remarks
    return Plan(tuple(terms), "found", (*notes, *refused))


def settle(known: Plan, output: Any) -> Plan:
    """Return a plan with terms: without a loss so far, by what forward returned."""
    if known.terms:
        return known
    if forward_losses(output):
        return replace(known, terms=(ForwardLoss(),), source="forward")
    if not any(map(_trainable, tensors_of(output))):
        raise CaptureError("no output of forward depends on a parameter that requires gradients")
    stand_in = Term(
        "mse_loss", F.mse_loss, label="mse_loss against random numbers", steps=(_first_trainable,)
    )
    note = "no loss was found: gradients are those of a stand-in, mse_loss against random numbers"
    return Plan((stand_in,), "stand-in", (*known.notes, note))


def forward_losses(output: Any) -> list[torch.Tensor]:
    """Return the scalars of a model's output that look like its loss.

    A scalar itself, the `loss` of a mapping or structured output, all values of a mapping of
    scalars, or the first scalar of a tuple; each must depend on parameters.
    """
    if _scalar(output):
        return [output]
    if isinstance(output, Mapping):
        if _scalar(output.get("loss")):
            return [output["loss"]]
        values = list(output.values())
        return values if values and all(map(_scalar, values)) else []
    if _scalar(getattr(output, "loss", None)):
        return [output.loss]
    if isinstance(output, (tuple, list)):
        for item in output:
            if _scalar(item):
                return [item]
            if isinstance(item, Mapping) and (found := forward_losses(item)):
                return found
    return []


def first_tensor(value: Any) -> Any:
    """Return the first tensor of a tuple, list, mapping or structured output."""
    return next(iter(tensors_of(value)), None)


def tensors_of(value: Any) -> list[torch.Tensor]:
    """Return every tensor of a model's output, also those in attributes of plain objects."""
    found: list[torch.Tensor] = []
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, torch.Tensor):
            found.append(leaf)
        elif not isinstance(leaf, (type, nn.Module)) and hasattr(leaf, "__dict__"):
            inner = pytree.tree_leaves(list(vars(leaf).values()))
            found += [each for each in inner if isinstance(each, torch.Tensor)]
    return found


def _first_trainable(output: Any) -> Any:
    return next((tensor for tensor in tensors_of(output) if _trainable(tensor)), output)


def _trainable(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad and not value.is_complex()


def _scalar(value: Any) -> bool:
    return _trainable(value) and value.numel() == 1 and value.dim() <= 1


def _given(loss: Any) -> Term:
    op = operator_of(loss)
    if isinstance(loss, str):
        if op is None:
            raise UsageError(
                f"{loss!r} is no loss that nnlint knows", hint='Try --loss "cross_entropy".'
            )
        if not drawing.can_draw(op.name):
            raise _not_drawn(op.name)
        return Term(op.name, _function(op.name), label=op.name)
    if not callable(loss):
        raise UsageError(f"a loss is a module, a function or a name, not {loss!r:.80}")
    if isinstance(loss, nn.Module):
        loss = copy.deepcopy(loss)
    label = op.name if op is not None else _name_of(loss)
    kind = op.name if op is not None and drawing.can_draw(op.name) else ""
    options = dict(vars(loss)) if isinstance(loss, nn.Module) else {}
    criterion = _function(kind) if kind == "gaussian_nll_loss" else loss
    return Term(kind, criterion, label=label, options=options)


def _name_of(loss: Any) -> str:
    return getattr(loss, "__name__", "") or type(loss).__name__


def _not_drawn(name: str, location: Location | None = None) -> CaptureError:
    return CaptureError(
        f"labels for {name} cannot be drawn",
        location=location,
        hint="Give a batch of your own with --data, or another loss with --loss.",
    )


def _function(name: str) -> Callable[..., Any]:
    if name == "gaussian_nll_loss":
        return _gaussian_nll
    found = getattr(F, name)
    assert callable(found)
    return found  # type: ignore[no-any-return]


def _gaussian_nll(
    value: torch.Tensor,
    target: torch.Tensor,
    var: torch.Tensor,
    *,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> torch.Tensor:
    """Compute F.gaussian_nll_loss without its test for negative variances, which no graph has."""
    var = var.clone()
    with torch.no_grad():
        var.clamp_(min=eps)
    loss = 0.5 * (torch.log(var) + (value - target) ** 2 / var)
    if full:
        loss = loss + 0.9189385332046727
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def _of_one_call(uses: Sequence[OutputUse]) -> list[OutputUse]:
    """Return the uses of the first call of the model, each once."""
    if not uses:
        return []
    calls = [use for use in uses if use.through == uses[0].through]
    known: dict[object, OutputUse] = {}
    for use in calls:
        way = tuple((step.kind, step.name, step.location) for step in use.steps)
        known.setdefault((use.sink, use.location, way), use)
    return list(known.values())


def _found(use: OutputUse) -> tuple[Term, list[str]]:
    """Rebuild one loss from the source.

    Raises:
        CaptureError: It cannot be drawn for.
    """
    op = operator_of(use.sink)
    name = op.name if op is not None else use.sink.rpartition(".")[2]
    if not drawing.can_draw(name) or (use.slot and name not in _SYMMETRIC | _COMPARING):
        raise _not_drawn(name, use.location)
    notes = []
    options = {key: value for key, value in use.kwargs.items() if value is not UNKNOWN}
    left_out = sorted(use.kwargs.keys() - options.keys())
    if left_out:
        notes.append(
            f"{', '.join(left_out)} of {name} at {line_of(use.location)} is known only at run "
            "time and was left out"
        )
    steps = []
    for step in use.steps:
        made = _step(step)
        if made is None:
            notes.append(
                f"{step.name.removeprefix('.')} at {line_of(step.location)}, between the output "
                f"and {name}, takes what is known only at run time and was left out"
            )
        else:
            steps.append(made)
    term = Term(
        name,
        _criterion(use.sink, name, options),
        label=name,
        steps=steps,
        slot=use.slot,
        options=options,
        location=use.location,
    )
    return term, notes


# Losses of which any of the first tensors may be the model's output.
_COMPARING = frozenset({"triplet_margin_loss", "cosine_embedding_loss", "margin_ranking_loss"})


def _criterion(sink: str, name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the loss with the literal options that it takes."""
    target = resolve(sink)
    if name == "gaussian_nll_loss":
        target = _gaussian_nll
    options = {key: value for key, value in options.items() if not isinstance(value, (list, tuple))}
    if isinstance(target, type):
        accepted = inspect.signature(target).parameters
        try:
            return target(**{k: v for k, v in options.items() if k in accepted})  # type: ignore[no-any-return]
        except (TypeError, ValueError):
            return target()  # type: ignore[no-any-return]
    function = target if callable(target) else _function(name)
    taken = inspect.signature(function).parameters
    fixed = {key: value for key, value in options.items() if key in taken}
    return lambda *tensors: function(*tensors, **fixed)


def _step(step: Step) -> Callable[[Any], Any] | None:
    """Return a step as a function; None where it takes something that is not known."""
    known = UNKNOWN not in (*step.args, *step.kwargs.values(), step.key)
    match step.kind:
        case "item":
            return (lambda value: value[step.key]) if known else None
        case "attr":
            return lambda value: getattr(value, step.name)
        case "method":
            name = step.name.removeprefix(".")
            if known:
                return lambda value: getattr(value, name)(*step.args, **step.kwargs)
            return _METHODS.get((name, len(step.args)))
        case "call":
            return _applied(step) if known else None


# What methods with arguments known only at run time nearly always mean.
_METHODS: dict[tuple[str, int], Callable[[Any], Any]] = {
    ("to", 1): lambda value: value,
    ("view", 2): lambda value: value.reshape(-1, value.shape[-1]),
    ("reshape", 2): lambda value: value.reshape(-1, value.shape[-1]),
}


def _applied(step: Step) -> Callable[[Any], Any] | None:
    target: Any = resolve(step.name) if step.name.startswith("torch") else None
    if isinstance(target, type) and issubclass(target, nn.Module):
        return target(**step.kwargs)
    if not callable(target):
        return None
    return lambda value: target(value, *step.args, **step.kwargs)
