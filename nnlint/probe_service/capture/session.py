"""Capture one training step: from a live model to what is sent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy

from nnlint.errors import CaptureError
from nnlint.linter.discover.targets import Target
from nnlint.linter.graph import ModelGraph
from nnlint.linter.load import failures
from nnlint.linter.notebook import line_of
from nnlint.linter.settings import ModelSettings
from nnlint.linter.trace.convert import BuiltAt
from nnlint.linter.trace.positions import UserCode
from nnlint.probe_service.capture import inputs, parity
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.capture.doubling import doubled
from nnlint.probe_service.capture.eager import Eager, ForwardFailedError, run, undisturbed
from nnlint.probe_service.capture.evaluation import evaluation
from nnlint.probe_service.capture.export import Exported, export
from nnlint.probe_service.capture.feed import Call, Feed
from nnlint.probe_service.capture.loss import Plan, plan
from nnlint.probe_service.capture.places import Places
from nnlint.probe_service.capture.prediction import predicted
from nnlint.probe_service.capture.ranges import ranges
from nnlint.probe_service.capture.wrapper import TrainingStep, copied
from nnlint.probe_service.encode.encode import Encoded, NotEncodableError, encode
from nnlint.probe_service.options import ProbeOptions

if TYPE_CHECKING:
    from torch import nn

_HINT = "Give the shape of the input, e.g. --input 16x3x224x224, or a batch with --data."


@dataclass(frozen=True, slots=True)
class Batch:
    """The user's own data.

    Attributes:
        readings: Ways in which forward may be called with it, the likeliest first, each with the
            labels that are left for the loss.
    """

    readings: tuple[tuple[Call, tuple[Feed, ...]], ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """A live model with all that is known of it.

    Attributes:
        model: In training mode; it is not changed.
        target: What discovery knows of it.
        code: Tells the user's frames.
        built_at: Tells where a layer was built.
        origin: The module whose layers `built_at` knows, where `model` is a copy of it.
        settings: What the user says about it.
        graph: Its graph as the linter traced it.
        loss: A loss module, function or name; None for the one of `settings` or of the source.
        batch: The user's own data, None for random data.
    """

    model: nn.Module
    target: Target
    code: UserCode
    built_at: BuiltAt
    settings: ModelSettings = field(default_factory=ModelSettings)
    graph: ModelGraph | None = None
    loss: Any = None
    batch: Batch | None = None
    origin: nn.Module | None = None


def capture(subject: Subject, options: ProbeOptions) -> Capture:
    """Capture one training step of a model and compare it with the live model.

    Args:
        subject: The model.
        options: Batch size and seed.

    Raises:
        CaptureError: It cannot be captured, or the graph is not faithful.
        UsageError: The loss is none.
    """
    subject = _ready(subject, options)
    call, eager = _first_step(subject, options)
    exported = _export(subject, options, call, eager)
    found = ranges(exported.step, call.feeds)
    if found != call.feeds:
        call, eager, exported = _redrawn(subject, options, call.with_feeds(found), eager, exported)
    encoded = _encode(subject, exported)
    place = subject.target.location
    compared = parity.compare(
        encoded.graph,
        lambda digest: encoded.blobs[digest.sha256],
        exported,
        eager,
        seed=options.seed,
        fallback=place,
    )
    blobs: Mapping[bytes, memoryview] = encoded.blobs
    evaluating = None
    if "train_eval" in options.experiments:

        def again(model: nn.Module) -> tuple[Exported, Encoded]:
            other = replace(subject, model=model, origin=subject.origin or subject.model)
            found = _export(other, options, call, eager)
            return found, _encode(other, found)

        evaluating, more = evaluation(
            subject.model, call, eager, (exported, encoded), again, seed=options.seed
        )
        blobs = {**blobs, **more}
    return Capture(
        model=subject.target.name,
        location=place,
        graph=encoded.graph.SerializeToString(deterministic=True),
        blobs=blobs,
        evaluation=evaluating,
        nodes=exported.nodes,
        tensors=exported.tensors,
        loss_nodes=exported.loss_nodes,
        batch_size=call.batch_size,
        loss=eager.plan.label,
        loss_source=eager.plan.source,
        data="user" if subject.batch is not None else "random",
        parity=compared,
        notes=tuple(
            dict.fromkeys(
                (
                    *eager.plan.notes,
                    *exported.notes,
                    *_remarks(subject, eager),
                    *_sizes(subject, options, call),
                )
            )
        ),
        doubled=doubled(subject.model, call, eager, seed=options.seed)
        if "initial_loss" in options.experiments
        else None,
        predicted=predicted(subject, call, eager.plan) if options.predict else None,
    )


def _ready(subject: Subject, options: ProbeOptions) -> Subject:
    """Return the subject with a model whose parameters all exist.

    Lazy layers make theirs when they first run: that is done on a copy.

    Raises:
        CaptureError: They never do, or a part of the model is no Python that could be followed.
    """
    for name, module in subject.model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise CaptureError(
                f"{name or 'the model'} is compiled by TorchScript, which capture cannot follow",
                location=subject.target.location,
            )
    if not any(map(is_lazy, (*subject.model.parameters(), *subject.model.buffers()))):
        return subject
    for call, _ in _calls(subject, options):
        model = copied(subject.model)
        inputs = [feed.tensor(seed=options.seed, index=i) for i, feed in enumerate(call.feeds)]
        args, kwargs = call.arguments(inputs)
        with undisturbed(options.seed), contextlib.suppress(Exception), torch.no_grad():
            model(*args, **kwargs)
        if not any(map(is_lazy, (*model.parameters(), *model.buffers()))):
            return replace(subject, model=model, origin=subject.origin or subject.model)
    raise CaptureError(
        "its lazy layers have no sizes yet: no input was found that forward accepts",
        location=subject.target.location,
        hint=_HINT,
    )


def _first_step(subject: Subject, options: ProbeOptions) -> tuple[Call, Eager]:
    """Run the model on the first inputs that it accepts."""
    loss = subject.loss if subject.loss is not None else subject.settings.loss
    known = plan(subject.target, loss)
    first: Exception | None = None
    for call, targets in _calls(subject, options):
        try:
            return call, _eager(subject, options, call, known, targets)
        except ForwardFailedError as error:
            first = first or error.error
    if first is None:
        raise CaptureError(
            "no input was found that forward accepts",
            location=subject.target.location,
            hint=_HINT,
        )
    location, _ = subject.code.raised(first.__traceback__)
    raise CaptureError(
        f"forward raises {failures.describe(first)}",
        location=location or subject.target.location,
        hint="" if subject.batch is not None else _HINT,
    ) from first


def _calls(subject: Subject, options: ProbeOptions) -> Iterator[tuple[Call, tuple[Feed, ...]]]:
    if subject.batch is not None:
        yield from subject.batch.readings
        return
    for call in inputs.calls(
        subject.model,
        subject.graph,
        subject.settings,
        passed=subject.target.passed,
        batch_size=options.batch_size,
    ):
        yield call, ()


def _eager(
    subject: Subject, options: ProbeOptions, call: Call, known: Plan, targets: Sequence[Feed] = ()
) -> Eager:
    return run(subject.model, call, known, seed=options.seed, code=subject.code, targets=targets)


def _export(subject: Subject, options: ProbeOptions, call: Call, eager: Eager) -> Exported:
    labels = [feed for group in eager.targets for feed in group]
    step = TrainingStep(
        copied(subject.model, share=True),
        call,
        eager.plan.terms,
        [len(group) for group in eager.targets],
    )
    places = Places(
        step,
        code=subject.code,
        built_at=subject.built_at,
        model=subject.origin or subject.model,
        fallback=subject.target.location,
    )
    return export(
        step,
        [*call.feeds, *labels],
        inputs=len(call.feeds),
        batch_size=call.batch_size,
        seed=options.seed,
        places=places,
        forward_loss=eager.plan.source == "forward",
        causal_masks=eager.causal,
    )


def _redrawn(
    subject: Subject, options: ProbeOptions, call: Call, eager: Eager, exported: Exported
) -> tuple[Call, Eager, Exported]:
    """Run the step again with integers of the range that was found in the graph."""
    try:
        again = _eager(subject, options, call, eager.plan)
    except ForwardFailedError:
        # Some way of computing with them was not followed; zeros and ones went well.
        return call, eager, exported
    tensors = list(exported.step.tensors)
    for index, feed in enumerate(call.feeds):
        tensors[index] = replace(tensors[index], draw=feed.draw)
    exported.step.tensors[:] = tensors
    return call, again, exported


def _encode(subject: Subject, exported: Exported) -> Encoded:
    try:
        return encode(exported.step)
    except NotEncodableError as error:
        site = exported.nodes[error.operation] if error.operation >= 0 else None
        place = site.location if site is not None else None
        raise CaptureError(str(error), location=place or subject.target.location) from None


def _sizes(subject: Subject, options: ProbeOptions, call: Call) -> Iterator[str]:
    wanted = inputs.wanted(subject.settings, options.batch_size)
    if subject.batch is None and call.feeds and call.batch_size != wanted:
        yield (
            f"forward does not accept a batch of {wanted}: one of {call.batch_size} was taken, "
            "and so the activity of units is that of few samples a step"
        )


def _remarks(subject: Subject, eager: Eager) -> Iterator[str]:
    """Yield what a graph leaves out, where it makes no difference to the gradients."""
    custom = {each.name: each for each in eager.functions if not each.own}
    for name, each in custom.items():
        line = f" at {line_of(each.location)}" if each.location is not None else ""
        yield (
            f"{name}{line} is a custom autograd function; its gradients were compared with those "
            "of its forward, and agree"
        )
    if eager.checkpointed:
        yield "activations are checkpointed: the graph keeps them, and so takes more memory"
    hooked = sum(
        bool(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks)  # noqa: SLF001 - no public way to them
        for m in subject.model.modules()
    )
    if hooked:
        yield (
            f"{hooked} module{'s' if hooked > 1 else ''} with hooks: what forward hooks compute is "
            "in the graph, other effects of theirs are not"
        )
