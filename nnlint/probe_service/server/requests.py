"""What requests may say, field by field, before anything is done for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from nnlint.probe_service.server.blobs import DIGEST_BYTES, EMPTY, Key
from nnlint.probe_service.server.refusals import RefusedError, Violation
from nnlint.probe_service.server.settings import Limits
from nnlint.protos.v1 import graph_pb2, probe_service_pb2

PROBE_ID_BYTES = 16
_MOST_EXPERIMENTS = 16
_MOST_RATE = 1e6


def check_digests(digests: Sequence[graph_pb2.Digest], limits: Limits) -> list[Key]:
    """Return the keys of well-formed digests.

    Raises:
        RefusedError: INVALID_ARGUMENT, with the malformed ones.
    """
    if len(digests) > limits.digests:
        text = f"{len(digests)} digests; at most {limits.digests} in one call"
        raise RefusedError.invalid([Violation("digests", text)])
    keys = [Key.of(digest) for digest in digests]
    _refuse(v for i, key in enumerate(keys) for v in digest_violations(key, f"digests[{i}]"))
    return keys


def digest_violations(key: Key, field: str) -> Iterator[Violation]:
    """Yield what is wrong with a digest by itself."""
    if len(key.sha256) != DIGEST_BYTES:
        text = f"{len(key.sha256)} bytes; a SHA-256 has {DIGEST_BYTES}"
        yield Violation(f"{field}.sha256", text)
    elif (key.sha256 == EMPTY) != (key.size == 0):
        yield Violation(f"{field}.size_bytes", f"{key.size} is not the size of this content")


def check_probe_id(probe_id: bytes) -> None:
    """Check the name of a probe.

    Raises:
        RefusedError: INVALID_ARGUMENT.
    """
    _refuse(_probe_id_violations(probe_id))


def check_run(request: probe_service_pb2.RunProbeRequest, limits: Limits) -> None:
    """Check everything in a request but the graph itself.

    Raises:
        RefusedError: INVALID_ARGUMENT.
    """
    _refuse(_run_violations(request, limits))


def _refuse(violations: Iterable[Violation]) -> None:
    found = list(violations)
    if found:
        raise RefusedError.invalid(found)


def _probe_id_violations(probe_id: bytes) -> Iterator[Violation]:
    if len(probe_id) != PROBE_ID_BYTES:
        yield Violation("probe_id", f"{len(probe_id)} bytes; it has {PROBE_ID_BYTES}")


def _run_violations(
    request: probe_service_pb2.RunProbeRequest, limits: Limits
) -> Iterator[Violation]:
    yield from _probe_id_violations(request.probe_id)
    key = Key.of(request.graph)
    yield from digest_violations(key, "graph")
    if key.size > limits.graph_bytes:
        yield Violation("graph.size_bytes", f"{key.size}; at most {limits.graph_bytes}")
    yield from _within(
        "keep_alive_seconds", request.keep_alive_seconds, 0.0, limits.keep_alive_seconds
    )
    settings = request.settings
    yield from _known(
        "settings.device", settings.device, probe_service_pb2.ProbeSettings.DeviceKind
    )
    yield from _known(
        "settings.precision", settings.precision, probe_service_pb2.ProbeSettings.Precision
    )
    yield from _within("settings.seconds", settings.seconds, 0.0, limits.seconds)
    yield from _experiment_violations(settings.experiments, limits)


def _experiment_violations(
    experiments: Sequence[probe_service_pb2.Experiment], limits: Limits
) -> Iterator[Violation]:
    if not 1 <= len(experiments) <= _MOST_EXPERIMENTS:
        text = f"{len(experiments)} experiments; from 1 to {_MOST_EXPERIMENTS}"
        yield Violation("settings.experiments", text)
        return
    steps = samples = 0
    for number, experiment in enumerate(experiments):
        field = f"settings.experiments[{number}]"
        if experiment.WhichOneof("kind") != "gradients":
            yield Violation(field, "no kind of experiment that this server knows")
            continue
        gradients = experiment.gradients
        if gradients.steps < 1:
            yield Violation(f"{field}.gradients.steps", "at least 1")
        steps += gradients.steps
        samples += gradients.samples
        yield from _optimizer_violations(gradients.optimizer, f"{field}.gradients.optimizer")
    if steps > limits.steps:
        yield Violation("settings.experiments", f"{steps} steps; at most {limits.steps}")
    if samples > limits.samples:
        yield Violation("settings.experiments", f"{samples} samples; at most {limits.samples}")


def _optimizer_violations(
    optimizer: probe_service_pb2.Optimizer, field: str
) -> Iterator[Violation]:
    yield from _within(f"{field}.learning_rate", optimizer.learning_rate, 0.0, _MOST_RATE)
    yield from _within(f"{field}.weight_decay", optimizer.weight_decay, 0.0, _MOST_RATE)
    sgd, adamw = optimizer.sgd, optimizer.adamw
    yield from _within(f"{field}.sgd.momentum", sgd.momentum, 0.0, _MOST_RATE)
    if sgd.nesterov and not sgd.momentum > 0:
        yield Violation(f"{field}.sgd.nesterov", "needs a momentum")
    if optimizer.WhichOneof("algorithm") == "adamw":
        for name in ("beta1", "beta2"):
            value = getattr(adamw, name)
            if not 0.0 <= value < 1.0:
                yield Violation(f"{field}.adamw.{name}", f"{value}; at least 0 and below 1")
        yield from _within(f"{field}.adamw.epsilon", adamw.epsilon, 0.0, _MOST_RATE)


def _within(field: str, value: float, low: float, high: float) -> Iterator[Violation]:
    if not (math.isfinite(value) and low <= value <= high):
        yield Violation(field, f"{value:g}; from {low:g} to {high:g}")


def _known(field: str, value: int, kinds: type) -> Iterator[Violation]:
    # proto3 keeps numbers that no name stands for.
    if value not in kinds.values():  # type: ignore[attr-defined]
        yield Violation(field, f"no value {value}")


def limits_message(limits: Limits) -> probe_service_pb2.Limits:
    """Return the limits as clients and workers are told them."""
    return probe_service_pb2.Limits(
        message_bytes=limits.message_bytes,
        blob_bytes=limits.blob_bytes,
        graph_bytes=limits.graph_bytes,
        nodes=limits.nodes,
        elements=limits.elements,
        steps=limits.steps,
        samples=limits.samples,
        seconds=limits.seconds,
        digests_per_call=limits.digests,
        keep_alive_seconds=limits.keep_alive_seconds,
    )
