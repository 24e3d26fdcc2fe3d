"""Probe a live module, as in a notebook or a test."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from nnlint.linter.baseline import read_baseline
from nnlint.linter.comparison import compare
from nnlint.linter.findings import Report
from nnlint.linter.live import lint
from nnlint.linter.rules.base import rule_by_key
from nnlint.linter.selection import resolve
from nnlint.linter.suppress import apply
from nnlint.linter.trace.stitch import operator_of
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.client.address import parse_address
from nnlint.probe_service.client.embedded import Embedded
from nnlint.probe_service.client.report import judge, with_probe
from nnlint.probe_service.client.request import check_options, kinds_of
from nnlint.probe_service.client.session import Session
from nnlint.probe_service.options import (
    CLIP_STEPS,
    LR_END,
    LR_START,
    LR_STEPS,
    MAX_NORM,
    OVERFIT_STEPS,
    SAMPLES,
    SEEDS,
    STEPS,
    ProbeOptions,
)

if TYPE_CHECKING:
    import torch


def probe(
    model: torch.nn.Module,
    batch: Any = None,
    loss: Any = None,
    server: str | None = None,
    *,
    steps: int = STEPS,
    samples: int = SAMPLES,
    batch_size: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Literal["float32", "bfloat16", "autocast", "autocast-float16"] = "float32",
    optimizer: Literal["", "sgd", "adamw"] = "",
    learning_rate: float | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    seed: int = 0,
    seconds: float = 300.0,
    fit_batch: bool = False,
    deterministic: bool = False,
    experiments: Sequence[str] = ("gradients",),
    histograms: bool = False,
    overfit_steps: int = OVERFIT_STEPS,
    lr_start: float = LR_START,
    lr_end: float = LR_END,
    lr_steps: int = LR_STEPS,
    lr_linear: bool = False,
    max_norm: float = MAX_NORM,
    clip_steps: int = CLIP_STEPS,
    seeds: int = SEEDS,
    baseline: str = "",
    token_file: str = "",
    tls: bool = False,
    tls_ca: str = "",
    tls_cert: str = "",
    tls_key: str = "",
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Report:
    """Run a few training steps of a copy of a module and return the report.

    The report is truthy when clean, its `probes` hold what was measured, and `print` shows it as a
    table. The module itself is linted and captured on copies: its parameters, gradients, buffers
    and mode, and the random state, are the same afterwards.

    Args:
        model: The module to probe.
        batch: A tensor, a tuple (inputs, labels), a dict by parameter name of forward, or an
            iterable of these, one for each step; drawn at random without it.
        loss: A module, a function of torch.nn.functional, or a name such as "cross_entropy";
            looked for in forward and in the file that defines the model without it.
        server: "host:port" or "unix:PATH" of a probe service; one is started for the time of the
            probe without it.
        steps: Optimiser steps, each measured.
        samples: Samples over which units are judged dead or saturated.
        batch_size: Samples in a step, where they are drawn.
        device: Where the server runs it.
        precision: Of the arithmetic; "autocast" is bfloat16.
        optimizer: "sgd" or "adamw"; "sgd" without it.
        learning_rate: 0.01 for sgd and 0.001 for adamw without it.
        momentum: Of sgd.
        weight_decay: Of the optimiser.
        seed: For drawn data and dropout.
        seconds: Time that the run may take.
        fit_batch: Whether to halve a drawn batch until memory suffices.
        deterministic: Whether to use deterministic algorithms where there are any.
        experiments: What is done: "gradients", "initial-loss", "overfit", "lr-range", "isolation",
            "train-eval", "clip", "input", "seeds"; ("all",) for all that the model allows.
        histograms: Whether values are counted by magnitude.
        overfit_steps: Most steps by which samples are learned by heart.
        lr_start: First learning rate of the range test.
        lr_end: Last one.
        lr_steps: How many.
        lr_linear: Whether they have equal differences, not equal factors.
        max_norm: Largest norm of all gradients together, where they are clipped.
        clip_steps: Steps without and with clipping.
        seeds: Initialisations beside the module's own.
        baseline: JSON report of an earlier probe; the report's `comparison` says what has changed.
        token_file: File with the server's token; the environment's NNLINT_TOKEN without it.
        tls: Whether to encrypt and trust the system's authorities.
        tls_ca: File with the authorities that sign the server's certificate.
        tls_cert: File with the client's certificate.
        tls_key: File with its key.
        select: Names, codes or prefixes of the rules to run; the default set without it.
        ignore: Names, codes or prefixes of rules to leave out.

    Raises:
        UsageError: An argument is not of a form named above, a rule is unknown, or the baseline
            cannot be read.
        CaptureError: The model cannot be captured.
        ServiceError: The server cannot be reached, or does not run it.
    """
    rules = resolve(select, ignore)
    options = ProbeOptions(
        steps=steps,
        samples=samples,
        batch_size=batch_size,
        device=device,
        precision=precision,
        optimizer=optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        seed=seed,
        seconds=seconds,
        fit_batch=fit_batch,
        deterministic=deterministic,
        experiments=kinds_of(experiments),
        histograms=histograms,
        overfit_steps=overfit_steps,
        lr_start=lr_start,
        lr_end=lr_end,
        lr_steps=lr_steps,
        lr_linear=lr_linear,
        max_norm=max_norm,
        clip_steps=clip_steps,
        seeds=seeds,
    )
    check_options(options)
    earlier = read_baseline(baseline) if baseline else ()
    address = None
    if server is not None:
        address = parse_address(
            server,
            token_file=token_file,
            tls=tls,
            tls_ca=tls_ca,
            tls_cert=tls_cert,
            tls_key=tls_key,
        )

    def capture(size: int | None) -> Capture:
        return capture_live(model, batch, loss, dataclasses.replace(options, batch_size=size))

    with contextlib.ExitStack() as stack:
        if address is None:
            embedded = stack.enter_context(Embedded())
            embedded.start()
        captured = capture(batch_size)
        report = lint(
            model,
            inputs=_inputs(model, batch),
            loss=loss if operator_of(loss) is not None else None,
            select=select,
            ignore=ignore,
        )
        session = stack.enter_context(Session(address or embedded))
        outcome = session.probe(captured, options, capture)
    report = with_probe(report, judge(outcome, options, rules, server=server or ""))
    ran = frozenset(rule.code for rule in rules) - {rule_by_key()["unused-suppression"].code}
    report = apply(report, report.sources, ran)
    if earlier:
        report = dataclasses.replace(report, comparison=compare(report, earlier, baseline))
    return report


def _inputs(model: torch.nn.Module, batch: Any) -> Any:
    """Return the part of a batch that forward takes, None where that is not plain."""
    import torch

    inputs = batch
    if isinstance(batch, tuple) and len(batch) == 2:
        inputs = batch[0]
    if isinstance(inputs, Mapping):
        names = inspect.signature(model.forward).parameters
        known = {key: value for key, value in inputs.items() if key in names}
        return known if known and all(map(torch.is_tensor, known.values())) else None
    several = isinstance(inputs, (tuple, list)) and inputs and all(map(torch.is_tensor, inputs))
    return inputs if several or torch.is_tensor(inputs) else None
