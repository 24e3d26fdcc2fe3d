"""Check what can be said of a graph without torch: references, sizes, contents, names.

Linear in the size of the message, and safe for every message that parses: sizes are Python
integers, so nothing overflows. The front refuses a graph with it before a worker is bothered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from nnlint.probe_service.operators import Reviewed, reviewed
from nnlint.probe_service.replay.violations import Violation, first
from nnlint.protos.v1 import graph_pb2, probe_service_pb2

FORMAT_VERSION = 1
# More dimensions than any model has; kernels are compiled for up to 25.
MOST_DIMENSIONS = 16
MOST_REGIONS = 4096
# A stride of a dimension of one element is never used, but must fit into 64 bits.
_LARGEST_STRIDE = 1 << 48

ITEM_SIZES: dict[int, int] = {
    graph_pb2.SCALAR_TYPE_FLOAT32: 4,
    graph_pb2.SCALAR_TYPE_FLOAT64: 8,
    graph_pb2.SCALAR_TYPE_FLOAT16: 2,
    graph_pb2.SCALAR_TYPE_BFLOAT16: 2,
    graph_pb2.SCALAR_TYPE_INT64: 8,
    graph_pb2.SCALAR_TYPE_INT32: 4,
    graph_pb2.SCALAR_TYPE_INT16: 2,
    graph_pb2.SCALAR_TYPE_INT8: 1,
    graph_pb2.SCALAR_TYPE_UINT8: 1,
    graph_pb2.SCALAR_TYPE_BOOL: 1,
    graph_pb2.SCALAR_TYPE_COMPLEX64: 8,
}
FLOATING = frozenset(
    {
        graph_pb2.SCALAR_TYPE_FLOAT32,
        graph_pb2.SCALAR_TYPE_FLOAT64,
        graph_pb2.SCALAR_TYPE_FLOAT16,
        graph_pb2.SCALAR_TYPE_BFLOAT16,
    }
)
_DIFFERENTIABLE = FLOATING | {graph_pb2.SCALAR_TYPE_COMPLEX64}
_INTEGER_BITS: dict[int, tuple[int, int]] = {
    graph_pb2.SCALAR_TYPE_INT64: (-(1 << 63), 1 << 63),
    graph_pb2.SCALAR_TYPE_INT32: (-(1 << 31), 1 << 31),
    graph_pb2.SCALAR_TYPE_INT16: (-(1 << 15), 1 << 15),
    graph_pb2.SCALAR_TYPE_INT8: (-128, 128),
    graph_pb2.SCALAR_TYPE_UINT8: (0, 256),
    graph_pb2.SCALAR_TYPE_BOOL: (0, 2),
}
_STATE = frozenset(
    {
        graph_pb2.Tensor.ROLE_PARAMETER,
        graph_pb2.Tensor.ROLE_BUFFER,
        graph_pb2.Tensor.ROLE_CONSTANT,
    }
)
_DATA = frozenset({graph_pb2.Tensor.ROLE_INPUT, graph_pb2.Tensor.ROLE_TARGET})
_MEMORY_FORMATS = frozenset(
    {
        graph_pb2.MEMORY_FORMAT_CONTIGUOUS,
        graph_pb2.MEMORY_FORMAT_PRESERVE,
        graph_pb2.MEMORY_FORMAT_CHANNELS_LAST,
        graph_pb2.MEMORY_FORMAT_CHANNELS_LAST_3D,
    }
)
_AUTOCAST_TYPES = frozenset({graph_pb2.SCALAR_TYPE_FLOAT16, graph_pb2.SCALAR_TYPE_BFLOAT16})


def check(graph: graph_pb2.Graph, limits: probe_service_pb2.Limits) -> list[Violation]:
    """Return what is wrong with a graph, at most `violations.MOST` things; empty where it is well.

    Args:
        graph: Any parsed message.
        limits: Of the server.
    """
    return first(_Checker(graph, limits).violations())


def elements(shape: Iterable[int]) -> int:
    """Return the number of elements of a tensor, exactly."""
    return math.prod(shape)


class _Checker:
    """One graph under examination."""

    def __init__(self, graph: graph_pb2.Graph, limits: probe_service_pb2.Limits) -> None:
        self.graph = graph
        self.limits = limits
        self.operators: list[Reviewed | None] = []
        # For each earlier node, the element types of its results.
        self.results: list[tuple[int, ...]] = []

    def violations(self) -> Iterator[Violation]:
        graph = self.graph
        if graph.format_version != FORMAT_VERSION:
            yield Violation(
                "graph.format_version",
                f"version {graph.format_version} is not understood, only {FORMAT_VERSION}",
            )
            return
        counts = {
            "nodes": (len(graph.nodes), self.limits.nodes),
            "tensors": (len(graph.tensors), self.limits.nodes),
            "outputs": (len(graph.outputs), self.limits.nodes),
            "regions": (len(graph.regions), MOST_REGIONS),
            "operators": (len(graph.operators), len(reviewed())),
        }
        for name, (count, most) in counts.items():
            if count > most:
                yield Violation(f"graph.{name}", f"{count} are more than {most}")
        if any(count > most for count, most in counts.values()):
            return
        if graph.batch_size < 1:
            yield Violation("graph.batch_size", "a step has at least one sample")
        if not graph.nodes:
            yield Violation("graph.nodes", "there is nothing to run")
        yield from self._operators()
        for index, tensor in enumerate(graph.tensors):
            yield from self._tensor(f"graph.tensors[{index}]", tensor)
        for index, region in enumerate(graph.regions):
            yield from _region(f"graph.regions[{index}]", region)
            if region.parent >= max(index, 1):
                yield Violation(f"graph.regions[{index}].parent", "it is not before this region")
        for index, node in enumerate(graph.nodes):
            yield from self._node(f"graph.nodes[{index}]", node)
        for index, reference in enumerate(graph.outputs):
            yield from self._reference(f"graph.outputs[{index}]", reference)
        yield from self._loss()

    def _operators(self) -> Iterator[Violation]:
        known = reviewed()
        seen: set[str] = set()
        for index, name in enumerate(self.graph.operators):
            self.operators.append(known.get(name))
            field = f"graph.operators[{index}]"
            if name not in known:
                yield Violation(field, f"{_quoted(name)} is not among the reviewed operators")
            elif name in seen:
                yield Violation(field, f"{name} stands here twice")
            seen.add(name)

    def _tensor(self, field: str, tensor: graph_pb2.Tensor) -> Iterator[Violation]:
        if tensor.role not in _STATE | _DATA:
            yield Violation(f"{field}.role", "a tensor has a role")
            return
        if tensor.dtype not in ITEM_SIZES:
            yield Violation(f"{field}.dtype", "the element type is not known")
            return
        wrong = self._shape(tensor.shape) or _strides(tensor.shape, tensor.strides)
        if wrong:
            yield Violation(f"{field}.shape", wrong)
            return
        if tensor.requires_grad and tensor.dtype not in _DIFFERENTIABLE:
            yield Violation(f"{field}.requires_grad", "only floating types have gradients")
        content = tensor.WhichOneof("content")
        if content == "digest":
            yield from self._content(field, tensor)
        elif content is None:
            yield Violation(field, "neither digest nor draw is set")
        elif tensor.role in _STATE:
            yield Violation(field, "a parameter, buffer or constant has a digest")
        else:
            if tensor.batches:
                yield Violation(f"{field}.batches", "only a digest has batches")
            yield from _draw(f"{field}.draw", tensor)

    def _content(self, field: str, tensor: graph_pb2.Tensor) -> Iterator[Violation]:
        if len(tensor.digest.sha256) != 32:
            yield Violation(f"{field}.digest.sha256", "a SHA-256 has 32 bytes")
        if tensor.role in _STATE and tensor.batches > 1:
            yield Violation(f"{field}.batches", "only an input or a target has batches")
            return
        if tensor.role in _DATA and tensor.batches < 1:
            yield Violation(f"{field}.batches", "an input with a digest has at least one batch")
            return
        size = elements(tensor.shape) * ITEM_SIZES[tensor.dtype] * max(tensor.batches, 1)
        if tensor.digest.size_bytes != size:
            yield Violation(
                f"{field}.digest.size_bytes",
                f"the shape takes {size} bytes and not {tensor.digest.size_bytes}",
            )
        elif size > self.limits.blob_bytes:
            yield Violation(
                f"{field}.digest.size_bytes",
                f"{size} bytes are more than {self.limits.blob_bytes}",
            )

    def _shape(self, shape: Sequence[int]) -> str:
        if len(shape) > MOST_DIMENSIONS:
            return f"{len(shape)} dimensions are more than {MOST_DIMENSIONS}"
        if any(size < 0 for size in shape):
            return "a size is negative"
        # A dimension of zero elements hides the others, and they must be bounded all the same.
        count = elements(max(size, 1) for size in shape)
        if count > self.limits.elements:
            return f"{count} elements are more than {self.limits.elements}"
        return ""

    def _node(self, field: str, node: graph_pb2.Node) -> Iterator[Violation]:
        operator = None
        if node.operator < len(self.operators):
            operator = self.operators[node.operator]
        else:
            yield Violation(f"{field}.operator", "there is no such operator")
        if node.region >= len(self.graph.regions):
            yield Violation(f"{field}.region", "there is no such region")
        for index, argument in enumerate(node.arguments):
            yield from self._argument(f"{field}.arguments[{index}]", argument, operator)
        seen: set[str] = set()
        for index, keyword in enumerate(node.keywords):
            place = f"{field}.keywords[{index}]"
            if keyword.name in seen:
                yield Violation(f"{place}.name", f"{_quoted(keyword.name)} is given twice")
            seen.add(keyword.name)
            yield from self._argument(f"{place}.value", keyword.value, operator)
        for index, output in enumerate(node.outputs):
            if output.dtype and output.dtype not in ITEM_SIZES:
                yield Violation(f"{field}.outputs[{index}].dtype", "the element type is not known")
            elif wrong := self._shape(output.shape):
                yield Violation(f"{field}.outputs[{index}].shape", wrong)
        self.results.append(tuple(output.dtype for output in node.outputs))

    def _argument(
        self, field: str, argument: graph_pb2.Argument, operator: Reviewed | None
    ) -> Iterator[Violation]:
        kind = argument.WhichOneof("value")
        if kind == "reference":
            yield from self._reference(field, argument.reference)
        elif kind == "list":
            for index, item in enumerate(argument.list.items):
                place = f"{field}.list.items[{index}]"
                if item.WhichOneof("value") == "list":
                    yield Violation(place, "lists do not nest")
                else:
                    yield from self._argument(place, item, operator)
        elif kind == "text":
            if operator is not None and not operator.allows(argument.text):
                yield Violation(field, f"{operator.name} takes no {_quoted(argument.text)}")
        elif kind == "dtype" and argument.dtype not in ITEM_SIZES:
            yield Violation(field, "the element type is not known")
        elif kind == "memory_format" and argument.memory_format not in _MEMORY_FORMATS:
            yield Violation(field, "the memory format is not known")
        elif kind == "device" and not argument.device:
            yield Violation(field, "the only device is that of the probe")

    def _reference(self, field: str, reference: graph_pb2.Reference) -> Iterator[Violation]:
        source = reference.WhichOneof("source")
        if source is None:
            yield Violation(field, "the reference is to nothing")
        elif source == "tensor":
            if reference.tensor >= len(self.graph.tensors):
                yield Violation(field, f"there is no tensor {reference.tensor}")
            elif reference.output:
                yield Violation(field, "a tensor has no further results")
        elif reference.node >= len(self.results):
            yield Violation(field, f"there is no node {reference.node} before this one")
        elif reference.output >= len(self.results[reference.node]):
            yield Violation(field, f"node {reference.node} has no result {reference.output}")
        elif not self.results[reference.node][reference.output]:
            yield Violation(
                field, f"result {reference.output} of node {reference.node} is no tensor"
            )

    def _loss(self) -> Iterator[Violation]:
        loss = self.graph.loss
        wrong = list(self._reference("graph.loss", loss))
        yield from wrong
        if wrong:
            return
        if loss.WhichOneof("source") != "node":
            yield Violation("graph.loss", "the loss is the result of a node")
            return
        output = self.graph.nodes[loss.node].outputs[loss.output]
        if output.dtype not in FLOATING or elements(output.shape) != 1:
            yield Violation("graph.loss", "the loss is one floating number")


def _strides(shape: Sequence[int], strides: Sequence[int]) -> str:
    if not strides:
        return ""
    if len(strides) != len(shape):
        return "there are not as many strides as sizes"
    if any(not 0 <= stride <= _LARGEST_STRIDE for stride in strides):
        return "a stride is out of range"
    expected = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size <= 1:
            continue
        if stride != expected:
            return "the strides are no permutation of the dense ones"
        expected *= size
    return ""


def _region(field: str, region: graph_pb2.Region) -> Iterator[Violation]:
    seen: set[int] = set()
    for index, autocast in enumerate(region.autocasts):
        place = f"{field}.autocasts[{index}]"
        if autocast.device not in {
            graph_pb2.Region.Autocast.DEVICE_CPU,
            graph_pb2.Region.Autocast.DEVICE_CUDA,
        }:
            yield Violation(f"{place}.device", "the kind of device is not known")
        elif autocast.device in seen:
            yield Violation(f"{place}.device", "this kind of device stands here twice")
        seen.add(autocast.device)
        if autocast.dtype not in _AUTOCAST_TYPES:
            yield Violation(f"{place}.dtype", "autocast takes float16 or bfloat16")


def _draw(field: str, tensor: graph_pb2.Tensor) -> Iterator[Violation]:
    kind = tensor.draw.WhichOneof("distribution")
    if kind is None:
        yield Violation(field, "there is no distribution")
        return
    field = f"{field}.{kind}"
    wrong = ""
    if kind == "integers":
        integers = tensor.draw.integers
        least, beyond = _INTEGER_BITS.get(tensor.dtype, (-(1 << 63), 1 << 63))
        if integers.low >= integers.high:
            wrong = "low is not below high"
        elif integers.low < least or integers.high > beyond:
            wrong = "the element type does not hold these integers"
    elif kind == "binary":
        binary = tensor.draw.binary
        if not _finite(binary.low, binary.high):
            wrong = "the bounds are not finite"
        elif not 0 <= binary.probability <= 1:
            wrong = "the probability is not between 0 and 1"
    elif tensor.dtype not in _DIFFERENTIABLE:
        wrong = "only a floating type can hold it"
    elif kind == "normal":
        normal = tensor.draw.normal
        if not _finite(normal.mean, normal.standard_deviation) or normal.standard_deviation < 0:
            wrong = "mean and standard deviation are finite, the latter not negative"
    elif kind == "uniform":
        uniform = tensor.draw.uniform
        if not _finite(uniform.low, uniform.high, uniform.high - uniform.low):
            wrong = "the bounds are not finite"
        elif uniform.low >= uniform.high:
            wrong = "low is not below high"
    elif tensor.dtype not in FLOATING:
        wrong = "only a real floating type can hold it"
    elif not -len(tensor.shape) <= tensor.draw.simplex.dimension < len(tensor.shape):
        wrong = "there is no such dimension"
    if wrong:
        yield Violation(field, wrong)


def _finite(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)


def _quoted(text: str) -> str:
    """Return a client's text, cut and escaped, for a message."""
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return ascii(shown)
