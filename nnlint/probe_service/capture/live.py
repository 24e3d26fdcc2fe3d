"""Capture a live module in this process, as in a notebook or a test."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from nnlint.errors import UsageError
from nnlint.linter import engine, live
from nnlint.linter.load import devices
from nnlint.linter.settings import ModelSettings
from nnlint.linter.trace.capture import ForwardError, NotTraceableError
from nnlint.linter.trace.positions import UserCode
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.capture.data import from_loader
from nnlint.probe_service.capture.exporting import silent
from nnlint.probe_service.capture.session import Batch, Subject, capture
from nnlint.probe_service.capture.wrapper import copied
from nnlint.probe_service.options import ProbeOptions


def capture_live(
    model: torch.nn.Module,
    batch: Any = None,
    loss: Any = None,
    options: ProbeOptions | None = None,
) -> Capture:
    """Capture a training step of a live module.

    The module is run on copies, in training mode; its parameters, buffers, gradients, mode and
    the random state are the same afterwards.

    Args:
        model: The module.
        batch: A tensor, a tuple (inputs, labels), a dict by parameter name of forward, or an
            iterable of these; drawn at random where None.
        loss: A module, function or name; None to take the one in forward or in the source.
        options: Batch size, seed and further options.

    Raises:
        UsageError: An argument is not of a form named above.
        CaptureError: The step cannot be captured.
    """
    compiled = getattr(model, "_orig_mod", None)
    if isinstance(compiled, torch.nn.Module):
        model = compiled
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"probe() takes a torch.nn.Module, not {type(model).__name__}")
    options = options or ProbeOptions()
    path, text, source = live.source_of(type(model))
    target = live.target_of(model, path, source)
    code = UserCode(path, text, "")
    built_at = live.sites(model)
    settings = ModelSettings()
    with live.undisturbed(model), contextlib.ExitStack() as stack:
        if not model.training:
            model.train()
        origin = model
        if _device(model) != "cpu":
            model = copied(model).to("cpu")
            stack.enter_context(devices.on_cpu())
        given = None if batch is None else _batch(batch, model, options, code)
        graph = None
        if given is None:
            # What cannot be traced may still run, and running it says more.
            with silent(), contextlib.suppress(ForwardError, NotTraceableError):
                graph = engine.model_graph(
                    model,
                    target=target,
                    source=source,
                    settings=settings,
                    code=code,
                    built_at=built_at,
                )
        subject = Subject(model, target, code, built_at, settings, graph, loss, given, origin)
        return _kept(capture(subject, options))


def _device(model: torch.nn.Module) -> str:
    """Return the kind of device that the model is on; "cpu" only where all of it is.

    Raises:
        UsageError: A part is on the meta device, which holds no values.
    """
    kinds = {tensor.device.type for tensor in (*model.parameters(), *model.buffers())}
    if "meta" in kinds:
        raise UsageError(
            "the model is on the meta device, where parameters have no values",
            hint="Move it with model.to_empty(device='cpu') and initialise it.",
        )
    return "cpu" if kinds <= {"cpu"} else min(kinds - {"cpu"})


def _batch(batch: Any, model: torch.nn.Module, options: ProbeOptions, code: UserCode) -> Batch:
    if isinstance(batch, list) and batch and all(isinstance(x, torch.Tensor) for x in batch):
        batch = tuple(batch)
    if isinstance(batch, (torch.Tensor, tuple, Mapping)):
        return from_loader([batch], model, options, code, what="the batch")
    return from_loader(batch, model, options, code, what="the batch")


def _kept(captured: Capture) -> Capture:
    """Return a capture with contents of its own: the model's memory changes as it is trained."""
    return replace(captured, blobs={key: bytes(data) for key, data in captured.blobs.items()})
