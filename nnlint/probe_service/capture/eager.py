"""One step of the live model, on a copy: the loss and the gradients that a graph has to reproduce."""

from __future__ import annotations

import contextlib
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import checkpoint

from nnlint.errors import CaptureError, NnlintError
from nnlint.linter.findings import Location
from nnlint.linter.load import failures
from nnlint.linter.trace.positions import UserCode
from nnlint.probe_service.capture import causal
from nnlint.probe_service.capture.feed import Call, Feed
from nnlint.probe_service.capture.loss import ForwardLoss, Plan, Term, settle
from nnlint.probe_service.capture.wrapper import TrainingStep, copied
from nnlint.probe_service.draw import stream


@dataclass(frozen=True, slots=True)
class Applied:
    """One call of a custom autograd function.

    Attributes:
        name: Name of its class.
        location: The user's line that calls it.
        own: Whether it is torch's own, as that of activation checkpointing.
    """

    name: str
    location: Location | None
    own: bool


@dataclass(frozen=True, slots=True)
class Eager:
    """What a step of the live model gave.

    Attributes:
        plan: The losses, settled by what forward returned.
        targets: For each term of the loss, the labels that it was given.
        loss: The loss.
        gradients: By name of the parameter, None where none flowed.
        functions: Custom autograd functions that were called.
        checkpointed: Whether activations were checkpointed.
        hooked: Names of modules with backward hooks.
        causal: What transformer layers found out about their masks, in order.
    """

    plan: Plan
    targets: tuple[tuple[Feed, ...], ...]
    loss: torch.Tensor
    gradients: dict[str, torch.Tensor | None]
    functions: tuple[Applied, ...]
    checkpointed: bool
    hooked: tuple[str, ...] = ()
    causal: tuple[bool, ...] = ()


class ForwardFailedError(Exception):
    """The user's forward raised.

    Attributes:
        error: What it raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def run(
    model: nn.Module,
    call: Call,
    plan: Plan,
    *,
    seed: int,
    code: UserCode,
    targets: Sequence[Feed] = (),
) -> Eager:
    """Run forward, loss and backward once, on a deep copy of the model.

    Args:
        model: The live model, which is not changed.
        call: How forward is called.
        plan: The losses as far as they are known.
        seed: The probe's seed.
        code: Tells the user's frames.
        targets: The user's labels; drawn for the loss where there are none.

    Raises:
        ForwardFailedError: Forward raises.
        CaptureError: The loss cannot be computed, or nothing depends on it.
    """
    try:
        copy = copied(model)
    except Exception as error:
        raise CaptureError(
            f"the model cannot be copied: {failures.describe(error)}",
            location=code.raised(error.__traceback__)[0],
        ) from error
    step = TrainingStep(copy, call)
    inputs = [feed.tensor(seed=seed, index=index) for index, feed in enumerate(call.feeds)]
    with undisturbed(seed), _watching(code) as seen, causal.noted() as masks:
        try:
            output = step.output(inputs)
        except Exception as error:
            raise ForwardFailedError(error) from error
        plan = settle(plan, output)
        labels = _labels(plan, output, targets)
        made, index = [], len(inputs)
        for feed in (feed for group in labels for feed in group):
            made.append(feed.tensor(seed=seed, index=index))
            index += 1
        step = TrainingStep(copy, call, plan.terms, [len(group) for group in labels])
        loss = _loss(step, output, made, plan, code)
        del output
        _backward(loss, code)
    gradients = {name: parameter.grad for name, parameter in copy.named_parameters()}
    return Eager(
        plan,
        labels,
        loss.detach(),
        gradients,
        tuple(seen.functions),
        seen.checkpointed,
        tuple(name for name, module in copy.named_modules() if _hooked(module)),
        tuple(masks),
    )


@contextlib.contextmanager
def undisturbed(seed: int) -> Iterator[None]:
    """Seed every source of random numbers for the first step, and restore them afterwards."""
    state = random.getstate()
    with contextlib.ExitStack() as stack:
        for context in (torch.random.fork_rng([]), warnings.catch_warnings(), torch.enable_grad()):
            stack.enter_context(context)
        if "torch._dynamo" in sys.modules:
            # What the user has compiled runs as it was written, and at once.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        warnings.simplefilter("ignore")
        torch.manual_seed(stream(seed, 0))
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)


def _labels(plan: Plan, output: Any, given: Sequence[Feed]) -> tuple[tuple[Feed, ...], ...]:
    """Return the labels for each term: the user's, each term taking its number of them."""
    if not given:
        return tuple(term.targets(output) for term in plan.terms)
    counts = [_count(term, output, len(given)) for term in plan.terms]
    if sum(counts) <= len(given):
        rest = list(given)
        groups = []
        for count in counts:
            groups.append(tuple(rest[:count]))
            rest = rest[count:]
        return tuple(groups)
    return tuple(tuple(given[:count]) for count in counts)


def _count(term: Term | ForwardLoss, output: Any, given: int) -> int:
    """Return how many labels a loss takes: all of them where that is not known."""
    if isinstance(term, ForwardLoss):
        return 0
    return len(term.targets(output)) if term.kind else given


def _loss(
    step: TrainingStep,
    output: Any,
    targets: Sequence[torch.Tensor],
    plan: Plan,
    code: UserCode,
) -> torch.Tensor:
    try:
        loss = step.loss(output, targets)
    except NnlintError:
        raise
    except Exception as error:
        place = next((t.location for t in plan.terms if t.location is not None), None)
        raise CaptureError(
            f"{plan.terms[0].label} raises {failures.describe(error)}",
            location=code.raised(error.__traceback__)[0] or place,
        ) from error
    if not loss.requires_grad:
        raise CaptureError(
            "the loss depends on no parameter that requires gradients",
            location=next((t.location for t in plan.terms if t.location is not None), None),
        )
    return loss


def _backward(loss: torch.Tensor, code: UserCode) -> None:
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        raise CaptureError(
            f"backward raises {failures.describe(error)}",
            location=code.raised(error.__traceback__)[0],
        ) from error


def _hooked(module: nn.Module) -> bool:
    return bool(module._backward_hooks or module._backward_pre_hooks)  # noqa: SLF001 - no public way to them


class _Seen:
    """What was met in the course of a step."""

    def __init__(self) -> None:
        self.functions: list[Applied] = []
        self.checkpointed = False


@contextlib.contextmanager
def _watching(code: UserCode) -> Iterator[_Seen]:
    """Note each call of a custom autograd function, and each use of activation checkpointing."""
    seen = _Seen()
    function = torch.autograd.Function
    original = function.__dict__["apply"]

    def apply(cls: type, *args: Any, **kwargs: Any) -> Any:
        own = cls.__module__.partition(".")[0] == "torch"
        seen.checkpointed = seen.checkpointed or cls is checkpoint.CheckpointFunction
        seen.functions.append(Applied(cls.__name__, code.site(sys._getframe(1)), own))  # noqa: SLF001 - the documented way to a caller's frame
        return original.__get__(None, cls)(*args, **kwargs)

    generator = getattr(checkpoint, "_checkpoint_without_reentrant_generator", None)

    def generate(*args: Any, **kwargs: Any) -> Any:
        seen.checkpointed = True
        assert generator is not None
        return generator(*args, **kwargs)

    function.apply = classmethod(apply)  # type: ignore[assignment, method-assign]
    if generator is not None:
        checkpoint._checkpoint_without_reentrant_generator = generate  # noqa: SLF001 - what checkpoint() calls by this name
    try:
        yield seen
    finally:
        function.apply = original  # type: ignore[method-assign]
        if generator is not None:
            checkpoint._checkpoint_without_reentrant_generator = generator  # noqa: SLF001 - as above
