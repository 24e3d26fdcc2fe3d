"""Small graphs for the tests of the probe service, made by hand and without torch.

`mlp()`, `convnet()` and `sigmoid_net()` are valid and train; `Builder` makes others.
"""

from __future__ import annotations

import hashlib
import math
import random
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnlint.protos.v1 import graph_pb2, probe_service_pb2

FLOAT32 = graph_pb2.SCALAR_TYPE_FLOAT32
INT64 = graph_pb2.SCALAR_TYPE_INT64
_PACK = {
    graph_pb2.SCALAR_TYPE_FLOAT32: "f",
    graph_pb2.SCALAR_TYPE_FLOAT64: "d",
    graph_pb2.SCALAR_TYPE_FLOAT16: "e",
    graph_pb2.SCALAR_TYPE_INT64: "q",
    graph_pb2.SCALAR_TYPE_INT32: "i",
    graph_pb2.SCALAR_TYPE_BOOL: "?",
}


@dataclass(frozen=True, slots=True)
class Built:
    """A graph and its blobs by SHA-256."""

    graph: graph_pb2.Graph
    blobs: Mapping[bytes, bytes]

    @property
    def serialised(self) -> bytes:
        return self.graph.SerializeToString(deterministic=True)

    def everything(self) -> dict[bytes, bytes]:
        """Return all blobs with the serialised graph among them."""
        return {**self.blobs, hashlib.sha256(self.serialised).digest(): self.serialised}

    def read(self, digest: graph_pb2.Digest) -> bytes:
        return self.everything()[digest.sha256]

    def request(
        self,
        *,
        probe_id: bytes = b"0123456789abcdef",
        keep_alive_seconds: float = 0,
        **settings: Any,
    ) -> probe_service_pb2.RunProbeRequest:
        return probe_service_pb2.RunProbeRequest(
            probe_id=probe_id,
            graph=digest_of(self.serialised),
            settings=settings_of(**settings),
            keep_alive_seconds=keep_alive_seconds,
        )


class Builder:
    """Appends tensors and nodes to a graph; what it returns goes in as arguments."""

    def __init__(self, *, batch_size: int = 8, seed: int = 0) -> None:
        self.graph = graph_pb2.Graph(format_version=1, batch_size=batch_size)
        self.region(grad_enabled=True)
        self.blobs: dict[bytes, bytes] = {}
        self.random = random.Random(seed)  # noqa: S311 - weights of a test

    def region(self, *, grad_enabled: bool = True, autocasts: Sequence[Any] = ()) -> int:
        self.graph.regions.add(grad_enabled=grad_enabled, autocasts=autocasts)
        return len(self.graph.regions) - 1

    def tensor(
        self,
        role: graph_pb2.Tensor.Role,
        shape: Sequence[int],
        *,
        values: Sequence[float] | None = None,
        dtype: graph_pb2.ScalarType = FLOAT32,
        requires_grad: bool = False,
        batches: int = 0,
        strides: Sequence[int] = (),
        **draw: Any,
    ) -> graph_pb2.Reference:
        """Append a tensor with the given values, or one that is drawn (`normal={}` ...)."""
        tensor = self.graph.tensors.add(
            role=role,
            dtype=dtype,
            shape=shape,
            requires_grad=requires_grad,
            batches=batches,
            strides=strides,
        )
        if values is None:
            tensor.draw.CopyFrom(graph_pb2.Draw(**draw))
        else:
            content = struct.pack(f"<{len(values)}{_PACK[dtype]}", *values)
            tensor.digest.CopyFrom(digest_of(content))
            self.blobs[tensor.digest.sha256] = content
        return graph_pb2.Reference(tensor=len(self.graph.tensors) - 1)

    def parameter(
        self, *shape: int, values: Sequence[float] | None = None, scale: float | None = None
    ) -> graph_pb2.Reference:
        """Append a parameter, uniform within `scale`, by default 1 / sqrt(fan in)."""
        if values is None:
            bound = scale if scale is not None else 1 / math.sqrt(max(math.prod(shape[1:]), 1))
            values = [self.random.uniform(-bound, bound) for _ in range(math.prod(shape))]
        return self.tensor(
            graph_pb2.Tensor.ROLE_PARAMETER, shape, values=values, requires_grad=True
        )

    def buffer(
        self, shape: Sequence[int], values: Sequence[float], dtype: graph_pb2.ScalarType = FLOAT32
    ) -> graph_pb2.Reference:
        return self.tensor(graph_pb2.Tensor.ROLE_BUFFER, shape, values=values, dtype=dtype)

    def input(self, *shape: int) -> graph_pb2.Reference:
        return self.tensor(
            graph_pb2.Tensor.ROLE_INPUT, shape, normal={"mean": 0, "standard_deviation": 1}
        )

    def labels(self, classes: int, *shape: int) -> graph_pb2.Reference:
        return self.tensor(
            graph_pb2.Tensor.ROLE_TARGET, shape, dtype=INT64, integers={"low": 0, "high": classes}
        )

    def call(
        self,
        name: str,
        *arguments: Any,
        shape: Sequence[int] | None = None,
        outputs: Sequence[tuple[graph_pb2.ScalarType, Sequence[int]]] = (),
        dtype: graph_pb2.ScalarType = FLOAT32,
        region: int = 0,
        keywords: Mapping[str, Any] | None = None,
    ) -> graph_pb2.Reference:
        """Append a node with one result of `shape`, or with `outputs`."""
        if name not in self.graph.operators:
            self.graph.operators.append(name)
        node = self.graph.nodes.add(
            operator=list(self.graph.operators).index(name),
            arguments=[argument(each) for each in arguments],
            region=region,
        )
        for key, value in (keywords or {}).items():
            node.keywords.add(name=key, value=argument(value))
        for scalar, sizes in outputs or [(dtype, shape or ())]:
            node.outputs.add(dtype=scalar, shape=sizes)
        return graph_pb2.Reference(node=len(self.graph.nodes) - 1)

    def linear(self, x: Any, batch: int, fan_in: int, fan_out: int, **scale: Any) -> Any:
        weight = self.parameter(fan_out, fan_in, **scale)
        bias = self.parameter(fan_out, values=[0.0] * fan_out)
        return self.call("aten.linear.default", x, weight, bias, shape=(batch, fan_out))

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        return self.call("aten.cross_entropy_loss.default", logits, labels, shape=())

    def build(self, loss: graph_pb2.Reference, *outputs: graph_pb2.Reference) -> Built:
        self.graph.loss.CopyFrom(loss)
        self.graph.outputs.extend(outputs)
        return Built(self.graph, self.blobs)


def digest_of(content: bytes) -> graph_pb2.Digest:
    return graph_pb2.Digest(sha256=hashlib.sha256(content).digest(), size_bytes=len(content))


def argument(value: Any) -> graph_pb2.Argument:
    """Return the argument for a plain value, a reference, or a list of these."""
    if value is None or isinstance(value, graph_pb2.Argument):
        return value or graph_pb2.Argument()
    if isinstance(value, graph_pb2.Reference):
        return graph_pb2.Argument(reference=value)
    if isinstance(value, bool):
        return graph_pb2.Argument(boolean=value)
    if isinstance(value, int):
        return graph_pb2.Argument(integer=value)
    if isinstance(value, float):
        return graph_pb2.Argument(real=value)
    if isinstance(value, str):
        return graph_pb2.Argument(text=value)
    return graph_pb2.Argument(list=graph_pb2.ArgumentList(items=[argument(each) for each in value]))


def settings_of(
    *,
    steps: int = 3,
    samples: int = 0,
    learning_rate: float = 0.01,
    momentum: float = 0.0,
    device: Any = probe_service_pb2.ProbeSettings.DEVICE_KIND_CPU,
    **other: Any,
) -> probe_service_pb2.ProbeSettings:
    """Return settings with one gradients experiment."""
    settings = probe_service_pb2.ProbeSettings(device=device, **other)
    gradients = settings.experiments.add().gradients
    gradients.steps, gradients.samples = steps, samples
    gradients.optimizer.learning_rate = learning_rate
    gradients.optimizer.sgd.momentum = momentum
    return settings


def limits(**changes: Any) -> probe_service_pb2.Limits:
    """Return the limits of a small server."""
    values = {
        "message_bytes": 4 << 20,
        "blob_bytes": 1 << 30,
        "graph_bytes": 16 << 20,
        "nodes": 20_000,
        "elements": 1 << 31,
        "steps": 1_000,
        "samples": 100_000,
        "seconds": 600.0,
        "digests_per_call": 10_000,
        "keep_alive_seconds": 60.0,
    }
    return probe_service_pb2.Limits(**{**values, **changes})


def mlp(
    *, batch: int = 8, features: int = 12, width: int = 16, classes: int = 4, depth: int = 2
) -> Built:
    """ReLU layers, dropout, cross-entropy."""
    b = Builder(batch_size=batch)
    logits = x = b.input(batch, features)
    fan_in = features
    for _ in range(depth):
        x = b.linear(x, batch, fan_in, width)
        x = b.call("aten.relu.default", x, shape=(batch, width))
        fan_in = width
    x = b.call("aten.dropout.default", *(x, 0.5, True), shape=(batch, width))
    logits = b.linear(x, batch, fan_in, classes)
    return b.build(b.cross_entropy(logits, b.labels(classes, batch)), logits)


def convnet(*, batch: int = 4, channels: int = 6, size: int = 10, classes: int = 3) -> Built:
    """Convolution, batch norm, ReLU in place, mean over positions, cross-entropy."""
    b = Builder(batch_size=batch)
    x = b.input(batch, 3, size, size)
    inner = (batch, channels, size, size)
    x = b.call(
        "aten.conv2d.default",
        *(x, b.parameter(channels, 3, 3, 3), b.parameter(channels), [1, 1], [1, 1]),
        shape=inner,
    )
    b.call("aten.add_.Tensor", b.buffer((), [0], INT64), 1, dtype=INT64, shape=())
    x = b.call(
        "aten.batch_norm.default",
        x,
        b.parameter(channels, values=[1.0] * channels),
        b.parameter(channels, values=[0.0] * channels),
        b.buffer((channels,), [0.0] * channels),
        b.buffer((channels,), [1.0] * channels),
        *(True, 0.1, 1e-05, False),
        shape=inner,
    )
    x = b.call("aten.relu_.default", x, shape=inner)
    x = b.call("aten.mean.dim", x, [2, 3], shape=(batch, channels))
    logits = b.linear(x, batch, channels, classes)
    return b.build(b.cross_entropy(logits, b.labels(classes, batch)), logits)


def sigmoid_net(*, batch: int = 8, width: int = 10, depth: int = 12) -> Built:
    """Sigmoid layers whose gradient vanishes, mean squared error."""
    b = Builder(batch_size=batch)
    x = b.input(batch, width)
    for _ in range(depth):
        x = b.linear(x, batch, width, width)
        x = b.call("aten.sigmoid.default", x, shape=(batch, width))
    target = b.tensor(
        graph_pb2.Tensor.ROLE_TARGET, (batch, width), uniform={"low": 0.0, "high": 1.0}
    )
    return b.build(b.call("aten.mse_loss.default", x, target, shape=()), x)
