"""From what a service answered to what the user is told: the probe of a model as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nnlint.errors import CaptureError, NnlintError
from nnlint.linter.experiments import Experiments
from nnlint.linter.findings import Location
from nnlint.linter.probed import Probed, Status
from nnlint.probe_service import asking
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.client.outcome import Outcome
from nnlint.probe_service.client.request import name_of
from nnlint.probe_service.diagnose import measured
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import measurement_pb2

_STATUSES: Mapping[int, Status] = {
    measurement_pb2.Result.STATUS_COMPLETED: "completed",
    measurement_pb2.Result.STATUS_OUT_OF_MEMORY: "out-of-memory",
    measurement_pb2.Result.STATUS_OPERATOR_FAILED: "operator-failed",
    measurement_pb2.Result.STATUS_WORKER_CRASHED: "worker-crashed",
    measurement_pb2.Result.STATUS_TIMED_OUT: "timed-out",
    measurement_pb2.Result.STATUS_CANCELLED: "cancelled",
}


def probed(outcome: Outcome, options: ProbeOptions, server: str) -> Probed:
    """Return what became of the probe of a model that was run.

    Args:
        outcome: What the service answered.
        options: What was asked for.
        server: Address of the service, "" for one of the client's own.
    """
    capture, result = outcome.capture, outcome.result
    status = _STATUSES.get(result.status, "worker-crashed")
    complete = status == "completed"
    return Probed(
        model=capture.model,
        path=capture.location.path,
        line=capture.location.line,
        status=status,
        reason="" if complete else _reason(result),
        hint="" if complete else _hint(status, capture, options),
        location=None if complete else _location(result, capture),
        measured=replace(
            measured(capture, options, outcome.plan, outcome.steps, result),
            experiments=experiments(outcome),
        ),
        seed=options.seed,
        loss_source=capture.loss_source,
        gradient_error=capture.parity.gradient_error,
        bit_equal=capture.parity.bit_equal,
        gradients=capture.parity.gradients,
        notes=(*capture.notes, *_remarks(outcome, options)),
        server=server,
        torch=result.environment.torch_version or outcome.server.torch_version,
        sent_bytes=outcome.uploaded.size,
        estimated_bytes=result.estimated_bytes,
        available_bytes=result.available_bytes,
        seconds=result.timings.running,
        predicted=capture.predicted,
    )


def experiments(outcome: Outcome) -> Experiments:
    """Return what the experiments found; nothing that the service sends is trusted to fit."""
    asked = outcome.asked
    if asked is None:
        return Experiments()
    kinds = [each.WhichOneof("kind") for each in asked.experiments]
    read: dict[str, Any] = {}
    for found in outcome.found:
        kind = found.WhichOneof("kind")
        module = asking.find(kind)
        if module is None or kind is None or found.experiment >= len(kinds):
            continue
        if kinds[found.experiment] == kind:
            read[kind] = module.read(getattr(found, kind), asked.subject)
    return Experiments(
        asked=tuple(name_of(kind) for kind in (*filter(None, kinds), *asked.skipped)),
        skipped={name_of(kind): reason for kind, reason in asked.skipped.items()},
        **read,
    )


def not_probed(model: str, place: Location, error: NnlintError, seed: int) -> Probed:
    """Return what is told of a model that was not run, with the reason."""
    location = error.location if isinstance(error, CaptureError) else None
    reason = str(error).rstrip(".")
    return Probed(
        model,
        place.path,
        place.line,
        "not-probed",
        reason,
        hint=error.hint,
        location=location,
        seed=seed,
    )


def _reason(result: measurement_pb2.Result) -> str:
    return " ".join(result.message.split()).rstrip(".") or "the service does not say why"


def _hint(status: Status, capture: Capture, options: ProbeOptions) -> str:
    match status:
        case "out-of-memory" if capture.batch_size > 1 and not options.fit_batch:
            return f"--fit-batch halves the batch until it fits, or --batch-size {capture.batch_size // 2}"
        case "timed-out":
            return "give it more with --seconds, or less to do with --steps or --batch-size"
        case "worker-crashed":
            return "the server's log says more"
        case _:
            return ""


def _location(result: measurement_pb2.Result, capture: Capture) -> Location | None:
    if not result.HasField("node") or result.node >= len(capture.nodes):
        return None
    site = capture.nodes[result.node]
    return site.location or site.call


def _remarks(outcome: Outcome, options: ProbeOptions) -> list[str]:
    notes = []
    size = outcome.capture.batch_size
    if options.fit_batch and options.batch_size and size < options.batch_size:
        notes.append(f"the batch was made smaller, from {options.batch_size} to {size}, to fit")
    limits = outcome.server.limits
    if limits.samples and options.samples > limits.samples:
        notes.append(f"the server looks at {limits.samples} samples at most")
    return notes
