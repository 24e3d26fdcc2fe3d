"""What requests may say, field by field, before anything is done for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from nnlint.probe_service import asking
from nnlint.probe_service.server.blobs import DIGEST_BYTES, EMPTY, Key
from nnlint.probe_service.server.refusals import RefusedError, Violation
from nnlint.probe_service.server.settings import Limits
from nnlint.protos.v1 import graph_pb2, probe_service_pb2

PROBE_ID_BYTES = 16
_MOST_EXPERIMENTS = 16


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
    for key in graphs_of(request):
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
    told = limits_message(limits)
    steps = samples = 0
    for number, experiment in enumerate(experiments):
        field = f"settings.experiments[{number}]"
        kind = experiment.WhichOneof("kind")
        module = asking.find(kind)
        if module is None or kind is None:
            yield Violation(field, "no kind of experiment that this server knows")
            continue
        settings = getattr(experiment, kind)
        for wrong in module.check(f"{field}.{kind}", settings, told):
            yield Violation(wrong.field, wrong.description)
        work = module.work(settings)
        steps += work.steps
        samples += work.samples
    if steps > limits.steps:
        yield Violation("settings.experiments", f"{steps} steps; at most {limits.steps}")
    if samples > limits.samples:
        yield Violation("settings.experiments", f"{samples} samples; at most {limits.samples}")


def graphs_of(request: probe_service_pb2.RunProbeRequest) -> list[Key]:
    """Return the graphs that a checked request names, its own first."""
    found = [Key.of(request.graph)]
    for experiment in request.settings.experiments:
        kind = experiment.WhichOneof("kind")
        module = asking.find(kind)
        if module is not None and kind is not None:
            found += map(Key.of, module.graphs(getattr(experiment, kind)))
    return list(dict.fromkeys(found))


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
