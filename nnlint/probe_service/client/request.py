"""From the user's options to a request, checked against what the service can do."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nnlint.errors import CaptureError, IncompatibleError, RefusedError, UsageError
from nnlint.linter.experiments import check_name, parse_names
from nnlint.probe_service import asking
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.client.address import Address
from nnlint.probe_service.client.upload import digest_of
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import graph_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

ID_BYTES = 16
_MEBIBYTE = 1 << 20
_DEVICES = {
    "auto": pb.ProbeSettings.DEVICE_KIND_UNSPECIFIED,
    "cpu": pb.ProbeSettings.DEVICE_KIND_CPU,
    "cuda": pb.ProbeSettings.DEVICE_KIND_CUDA,
}
_PRECISIONS = {
    "float32": pb.ProbeSettings.PRECISION_FLOAT32,
    "bfloat16": pb.ProbeSettings.PRECISION_BFLOAT16,
    "autocast": pb.ProbeSettings.PRECISION_AUTOCAST_BFLOAT16,
    "autocast-float16": pb.ProbeSettings.PRECISION_AUTOCAST_FLOAT16,
}


def check_options(options: ProbeOptions) -> None:
    """Check what no service would take.

    Raises:
        UsageError: A value is out of its range.
    """
    least = {
        "steps": 1,
        "samples": 0,
        "batch_size": 1,
        "seed": 0,
        "learning_rate": 0,
        "momentum": 0,
        "weight_decay": 0,
        "seconds": 0,
        "overfit_steps": 1,
        "lr_start": 0,
        "lr_end": 0,
        "lr_steps": 2,
        "max_norm": 0,
        "clip_steps": 1,
        "seeds": 1,
    }
    for name, lowest in least.items():
        value = getattr(options, name)
        if value is not None and not lowest <= value < math.inf:
            words = name.replace("_", " ")
            raise UsageError(f"{words} is a number of at least {lowest}, not {value}")
    if options.seed >= 1 << 63:
        raise UsageError(f"seed is below 2**63, not {options.seed}")
    if not 0 < options.lr_start < options.lr_end:
        text = f"{options.lr_start:g} to {options.lr_end:g}"
        raise UsageError(f"a range of learning rates goes from above 0 upwards, not from {text}")
    for kind in options.experiments:
        check_name(name_of(kind), map(name_of, asking.kinds()))
    if not options.max_norm > 0:
        raise UsageError("max norm is above 0")
    if not options.experiments:
        raise UsageError("at least one experiment is needed")
    if options.momentum and options.optimizer == "adamw":
        raise UsageError("momentum is of sgd, not of adamw")


def new_id() -> bytes:
    """Return an identity for a probe, which no one can guess."""
    return secrets.token_bytes(ID_BYTES)


@dataclass(frozen=True, slots=True)
class Asked:
    """The experiments of a request.

    Attributes:
        subject: What they are asked about.
        experiments: In the order of the request.
        skipped: Kind -> why the model cannot be asked.
    """

    subject: asking.Subject
    experiments: tuple[pb.Experiment, ...]
    skipped: Mapping[str, str]


def ask(capture: Capture, options: ProbeOptions, limits: pb.Limits) -> Asked:
    """Return the experiments that are asked for and can be asked.

    Raises:
        CaptureError: None of them can be asked of this model.
    """
    graph = graph_pb2.Graph.FromString(capture.graph)
    subject = asking.Subject(capture, graph, options, limits)
    experiments, skipped = [], {}
    for kind in dict.fromkeys(options.experiments):
        module = asking.find(kind)
        assert module is not None, kind
        settings = module.ask(subject)
        if isinstance(settings, str):
            skipped[kind] = settings
        else:
            experiments.append(pb.Experiment(**{kind: settings}))
    if not experiments:
        reasons = "; ".join(f"{name_of(kind)}: {why}" for kind, why in skipped.items())
        raise CaptureError(f"nothing that was asked for can be run ({reasons})")
    return Asked(subject, tuple(experiments), skipped)


def name_of(kind: str) -> str:
    """Return what people call a kind of experiment: "lr-range"."""
    return kind.replace("_", "-")


def kinds_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return kinds of experiments by their names, of all that there are for "all".

    Raises:
        UsageError: A name is unknown.
    """
    given = list(names)
    return asking.kinds() if given == ["all"] else tuple(_kind(name) for name in parse_names(given))


def _kind(name: str) -> str:
    return name.replace("-", "_")


def run_request(
    capture: Capture,
    options: ProbeOptions,
    server: pb.GetCapabilitiesResponse,
    asked: Asked,
    *,
    keep_alive_seconds: float,
) -> pb.RunProbeRequest:
    """Return the request for one probe."""
    limits = server.limits
    settings = pb.ProbeSettings(
        device=_DEVICES[options.device],
        precision=_PRECISIONS[options.precision],
        seed=options.seed,
        seconds=min(options.seconds, limits.seconds or options.seconds),
        deterministic=options.deterministic,
        experiments=asked.experiments,
    )
    return pb.RunProbeRequest(
        probe_id=new_id(),
        graph=digest_of(capture.graph),
        settings=settings,
        keep_alive_seconds=min(keep_alive_seconds, limits.keep_alive_seconds),
    )


def check(
    capture: Capture,
    options: ProbeOptions,
    server: pb.GetCapabilitiesResponse,
    address: Address,
) -> None:
    """Compare a capture and the options with what the service can do, before anything is sent.

    Raises:
        IncompatibleError: It understands another version, lacks an operator or the device.
        RefusedError: A limit of it is exceeded.
    """
    graph = graph_pb2.Graph.FromString(capture.graph)
    _check_version(graph, server, address)
    _check_device(options, server, address)
    if unknown := sorted(set(graph.operators) - set(server.operators)):
        known = _first_use(graph, capture, unknown[0])
        raise IncompatibleError(
            f"{address} does not run {unknown[0]}{known}",
            hint=_upgrade(server) if server.nnlint_version else "",
        )
    _check_limits(graph, capture, options, server.limits, address)


def _check_version(
    graph: graph_pb2.Graph, server: pb.GetCapabilitiesResponse, address: Address
) -> None:
    oldest, newest = server.oldest_format_version, server.newest_format_version
    if oldest <= graph.format_version <= newest:
        return
    older = graph.format_version > newest
    raise IncompatibleError(
        f"{address} has nnlint {server.nnlint_version}, which is too "
        f"{'old' if older else 'new'} for this client",
        hint=f"upgrade nnlint {'on the server' if older else 'here'}",
    )


def _upgrade(server: pb.GetCapabilitiesResponse) -> str:
    return f"the server has nnlint {server.nnlint_version}; a newer one may know the operator"


def _check_device(
    options: ProbeOptions, server: pb.GetCapabilitiesResponse, address: Address
) -> None:
    kinds = {device.kind for device in server.devices}
    wanted = options.device
    if wanted != "auto" and wanted not in kinds:
        has = ", ".join(f"{device.kind} ({device.name})" for device in server.devices)
        raise IncompatibleError(
            f"{address} has no {wanted} device", hint=f"it has {has}" if has else ""
        )
    if options.precision == "autocast-float16" and (wanted == "cpu" or "cuda" not in kinds):
        raise IncompatibleError(
            "--precision autocast-float16 needs a cuda device", hint="--precision autocast"
        )


def _first_use(graph: graph_pb2.Graph, capture: Capture, operator: str) -> str:
    """Return where an operator is used first, as a clause."""
    position = list(graph.operators).index(operator)
    for node, site in zip(graph.nodes, capture.nodes, strict=False):
        if node.operator == position and site.location is not None:
            return f", used at {site.location.path}:{site.location.line}"
    return ""


def _check_limits(
    graph: graph_pb2.Graph,
    capture: Capture,
    options: ProbeOptions,
    limits: pb.Limits,
    address: Address,
) -> None:
    _check_most(len(graph.nodes), limits.nodes, "operations in the graph", address)
    _check_most(len(capture.graph), limits.graph_bytes, "bytes of graph", address)
    _check_most(options.steps, limits.steps, "steps", address)
    for tensor, site in zip(graph.tensors, capture.tensors, strict=False):
        elements = 1
        for size in tensor.shape:
            elements *= size
        _check_most(elements, limits.elements, f"elements of {site.name}", address)
        if limits.blob_bytes and tensor.digest.size_bytes > limits.blob_bytes:
            raise RefusedError(
                f"{site.name} has {tensor.digest.size_bytes // _MEBIBYTE} MiB; {address} takes "
                f"tensors up to {limits.blob_bytes // _MEBIBYTE} MiB"
            )


def _check_most(number: int, most: int, noun: str, address: Address) -> None:
    if most and number > most:
        raise RefusedError(f"{number} {noun} are more than the {most} that {address} takes")
