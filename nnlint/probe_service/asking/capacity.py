"""How many samples a sound model can be asked to learn by heart.

Random labels cannot be compressed: a model needs parameters for each bit of them, and inputs by
which samples differ. Trained networks hold about two bits in a parameter at best (Allen-Zhu and Li:
Physics of language models, part 3.3, 2024), and one that is to get there in a few hundred steps
needs many more parameters than that.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from nnlint.probe_service.asking.losses import INTEGERS, Reader, Term
from nnlint.protos.v1 import graph_pb2

# Parameters for each bit of a label, or each number of a target. Small networks of all kinds learn
# 16 to 48 random samples with 4 of them within 400 steps.
_PARAMETERS = 8
# Numbers in a sample: below the first a decision that fits random labels is too folded to be found
# in a few hundred steps, below the second only one batch is asked for.
_LEAST_NUMBERS, _FEW_NUMBERS = 2, 4
# Expected pairs of equal samples among those that are drawn.
_PAIRS = 0.01
_FLOATING = frozenset(
    {
        graph_pb2.SCALAR_TYPE_FLOAT32,
        graph_pb2.SCALAR_TYPE_FLOAT64,
        graph_pb2.SCALAR_TYPE_FLOAT16,
        graph_pb2.SCALAR_TYPE_BFLOAT16,
        graph_pb2.SCALAR_TYPE_COMPLEX64,
    }
)
_INPUT, _TARGET = graph_pb2.Tensor.ROLE_INPUT, graph_pb2.Tensor.ROLE_TARGET


def batches(
    reader: Reader,
    terms: Sequence[Term],
    samples: int,
    blobs: Mapping[bytes, bytes | memoryview],
) -> int | str:
    """Return how many batches can be learned, or why not even one can.

    Args:
        reader: Of the graph.
        terms: Of its loss.
        samples: That are wanted; whole batches are taken, at least one.
        blobs: The content of stored tensors.
    """
    graph = reader.graph
    size = max(graph.batch_size, 1)
    wanted = max(-(-samples // size), 1)
    inputs = [each for each in _with_role(graph, _INPUT) if not _is_target(reader, terms, each)]
    if not inputs:
        return "nothing tells one sample from another, since forward takes no input"
    tensors = [graph.tensors[each] for each in inputs]
    stored = different(graph)
    if stored is not None:
        wanted = min(wanted, stored)
        if reason := _contradiction(graph, inputs, wanted, blobs):
            return reason
    else:
        told_apart = _told_apart(tensors, size, wanted)
        if isinstance(told_apart, str):
            return told_apart
        wanted = told_apart
    parameters = sum(
        math.prod(tensor.shape)
        for tensor in graph.tensors
        if tensor.role == graph_pb2.Tensor.ROLE_PARAMETER
    )
    needed = _PARAMETERS * sum(_information(reader, term) for term in terms)
    if needed > parameters:
        values = sum(term.elements for term in terms)
        return f"{parameters} parameters are few to hold {values} target values by heart"
    return max(min(wanted, int(parameters / needed) if needed else wanted), 1)


def different(graph: graph_pb2.Graph) -> int | None:
    """Return how many different batches of inputs there are, None where any is drawn."""
    inputs = [graph.tensors[each] for each in _with_role(graph, _INPUT)]
    if not inputs or any(tensor.WhichOneof("content") != "digest" for tensor in inputs):
        return None
    return max(max(tensor.batches, 1) for tensor in inputs)


def _with_role(graph: graph_pb2.Graph, role: int) -> list[int]:
    return [index for index, tensor in enumerate(graph.tensors) if tensor.role == role]


def _is_target(reader: Reader, terms: Sequence[Term], tensor: int) -> bool:
    """Tell whether an input of forward is what the loss compares with, and nothing else."""
    targets = [term.operand("target") for term in terms]
    if tensor not in {reader.stored(each) for each in targets if each is not None}:
        return False
    users = [
        node
        for node in reader.graph.nodes
        for argument in node.arguments
        if argument.reference == graph_pb2.Reference(tensor=tensor)
        and argument.WhichOneof("value") == "reference"
    ]
    return len(users) == sum(each is not None and reader.stored(each) == tensor for each in targets)


def _information(reader: Reader, term: Term) -> float:
    """Return the bits of the labels of a batch, or how many numbers its targets have."""
    prediction, target = term.operand("self"), term.operand("target")
    by_label = term.operator.startswith(("cross_entropy", "nll_", "multi_"))
    if prediction is None or target is None or not by_label:
        return term.elements
    sizes = reader.type_of(prediction)[1]
    classes = max(sizes[1 if len(sizes) > 1 else 0] if sizes else 1, 2)
    whole = reader.type_of(target)[0] in INTEGERS
    return (term.elements if whole else term.elements / classes) * math.log2(classes)


def _told_apart(tensors: Sequence[graph_pb2.Tensor], size: int, wanted: int) -> int | str:
    """Return how many batches of drawn samples all differ from each other."""
    numbers = sum(math.prod(tensor.shape) / size for tensor in tensors if tensor.dtype in _FLOATING)
    if numbers >= _FEW_NUMBERS:
        return wanted
    if numbers >= _LEAST_NUMBERS:
        return 1
    bits = sum(
        math.prod(tensor.shape)
        / size
        * math.log2(max(tensor.draw.integers.high - tensor.draw.integers.low, 1))
        for tensor in tensors
    )
    for count in (wanted, 1):
        pairs = (count * size) ** 2 / 2
        if bits >= math.log2(pairs / _PAIRS):
            return count
    return "its inputs are too small for random samples to differ: give a batch with --data"


def _contradiction(
    graph: graph_pb2.Graph,
    inputs: Sequence[int],
    count: int,
    blobs: Mapping[bytes, bytes | memoryview],
) -> str:
    """Say which of the user's samples are equal while their labels differ, "" for none."""
    rest = [index for index in _with_role(graph, _INPUT) if index not in inputs]
    labels = [*_with_role(graph, _TARGET), *rest]
    parts = [_samples(graph, index, count, blobs) for index in (*inputs, *labels)]
    if not all(parts):
        return ""
    known: dict[tuple[bytes, ...], tuple[int, tuple[bytes, ...]]] = {}
    for number, sample in enumerate(zip(*parts, strict=True)):
        key, label = sample[: len(inputs)], sample[len(inputs) :]
        first, before = known.setdefault(key, (number, label))
        if before != label:
            return f"samples {first} and {number} are equal, but their labels are not"
    return ""


def _samples(
    graph: graph_pb2.Graph, index: int, count: int, blobs: Mapping[bytes, bytes | memoryview]
) -> list[bytes]:
    """Return the content of each sample, none where the first dimension does not count samples."""
    tensor = graph.tensors[index]
    content = blobs.get(tensor.digest.sha256)
    samples = max(tensor.batches, 1) * graph.batch_size
    if not content or not tensor.shape or tensor.shape[0] != graph.batch_size:
        return []
    size = len(content) // samples
    taken = itertools.islice(itertools.cycle(range(samples)), count * graph.batch_size)
    return [bytes(content[each * size : (each + 1) * size]) for each in taken]
