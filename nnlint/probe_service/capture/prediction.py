"""What is predicted of a captured model, with the batch and the loss that were captured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter import engine
from nnlint.linter.graph import ModelGraph
from nnlint.linter.probed import Predicted, PredictedLayer
from nnlint.linter.settings import InputSpec
from nnlint.linter.signal.chains import signal_of
from nnlint.linter.signal.summary import summary_of
from nnlint.linter.trace.capture import ForwardError, NotTraceableError
from nnlint.probe_service.capture.feed import Call, Feed
from nnlint.probe_service.capture.loss import Plan

if TYPE_CHECKING:
    from nnlint.probe_service.capture.session import Subject


def predicted(subject: Subject, call: Call, plan: Plan) -> Predicted | None:
    """Return the gradients that `nnlint.linter.signal` predicts, None where it cannot be traced.

    A gradient's size depends on the number of samples, so that the model is traced anew with those
    of the step.
    """
    inputs = tuple(_inputs(call))
    if len(inputs) != len(call.leaves):
        return None
    kinds = [term.kind for term in plan.terms]
    found = subject.graph is not None and bool(subject.graph.losses)
    loss = kinds[0] if len(kinds) == 1 and not found else ""
    try:
        graph = _graph(subject, inputs, loss)
    except (ForwardError, NotTraceableError):
        return None
    layers = tuple(
        PredictedLayer(each["path"], each["predicted_gradient_rms"])
        for each in summary_of(graph)["layers"]
    )
    return Predicted(layers, signal_of(graph).loss)


def _graph(subject: Subject, inputs: tuple[InputSpec, ...], loss: str) -> ModelGraph:
    return engine.model_graph(
        subject.model,
        target=subject.target,
        source=subject.graph.source if subject.graph is not None else None,
        settings=dataclasses.replace(subject.settings, inputs=inputs),
        code=subject.code,
        built_at=subject.built_at,
        loss=loss,
    )


def _inputs(call: Call) -> Iterator[InputSpec]:
    """Yield the inputs of a call that is made of tensors alone."""
    args, kwargs = call.arguments(call.feeds)  # type: ignore[arg-type] # each in its tensor's place
    for name, value in [*(("", each) for each in args), *kwargs.items()]:
        if isinstance(value, Feed):
            yield InputSpec(value.shape, str(value.dtype).removeprefix("torch."), name)
