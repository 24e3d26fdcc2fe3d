"""What a loss cannot fall below, also where every sample is learned by heart."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Literal

from nnlint.probe_service.asking.losses import INTEGERS, Reader, Term, names
from nnlint.protos.v1 import graph_pb2

# These are 0 where every prediction is its target.
_ZERO = names(
    """
    absolute cosine_embedding_loss huber_loss l1_loss margin_ranking_loss mse_loss
    multi_margin_loss multilabel_margin_loss smooth_l1_loss soft_margin_loss square
    triplet_margin_loss
    """
)
_LIKELIHOODS = frozenset({"kl_div", "nll_loss", "nll_loss2d", "nll_loss_nd"})
_DISTANCES = frozenset(
    {"absolute", "huber_loss", "l1_loss", "mse_loss", "smooth_l1_loss", "square"}
)
# Results that cannot be any real number: drawn targets lie outside of them.
_BOUNDED = names(
    """
    _softmax abs batch_norm clamp clamp_min cos exp group_norm hardsigmoid hardtanh instance_norm
    layer_norm log_sigmoid log_softmax relu relu6 rms_norm sigmoid sin softmax softplus square tanh
    elu celu gelu silu hardswish mish linalg_vector_norm
    """
)
_INPUT, _TARGET = graph_pb2.Tensor.ROLE_INPUT, graph_pb2.Tensor.ROLE_TARGET


def floor(
    reader: Reader, terms: Sequence[Term], blobs: Mapping[bytes, bytes | memoryview]
) -> float | str:
    """Return what the loss cannot fall below, or why it need not come near that.

    Args:
        reader: Of the graph.
        terms: Of its loss.
        blobs: The content of stored tensors.
    """
    total = 0.0
    for term in terms:
        if term.weight <= 0:
            return f"{term.name} is subtracted from the loss, which has no floor then"
        if (
            len(terms) > 1
            and term.operator in {"square", "absolute"}
            and not _compares(reader, term)
        ):
            return "the loss has a penalty beside its comparison with targets"
        least = _least(reader, term, blobs)
        if isinstance(least, str):
            return least
        total += term.weight * least
    return total


def _compares(reader: Reader, term: Term) -> bool:
    """Tell whether a distance written out is one from an input or target."""
    operand = term.operand("self")
    assert operand is not None
    if reader.operator(operand) != "sub":
        return False
    return any(_fed(reader, each) for each in reader.operands(operand))


def _fed(reader: Reader, reference: graph_pb2.Reference) -> bool:
    stored = reader.stored(reference)
    return stored is not None and reader.graph.tensors[stored].role in {_INPUT, _TARGET}


def _least(reader: Reader, term: Term, blobs: Mapping[bytes, bytes | memoryview]) -> float | str:
    """Return what one term cannot fall below, on average or as a sum as the term has it."""
    prediction = term.operand("self")
    if term.operator in _DISTANCES and (reason := _out_of_reach(reader, term)):
        return reason
    if term.operator in _ZERO:
        return 0.0
    if term.operator in _LIKELIHOODS:
        if prediction is not None and reader.operator(reader.origin(prediction)) == "log_softmax":
            return 0.0
        return f"{term.name} has no floor, since what it takes are no log-probabilities"
    if term.operator.startswith("binary_cross_entropy"):
        return 0.0 if _two_valued(reader, term, blobs) else _ENTROPY.format(term.name)
    if term.operator == "cross_entropy_loss":
        return _cross_entropy(reader, term)
    return f"what {term.name} cannot fall below is not known"


_ENTROPY = "the floor of {}, the entropy of its targets, is not known"


def _cross_entropy(reader: Reader, term: Term) -> float | str:
    logits, target = term.operand("self"), term.operand("target")
    if logits is None or target is None:
        return _ENTROPY.format(term.name)
    one_hot = reader.operator(reader.origin(target)) == "one_hot"
    if not one_hot and reader.type_of(target)[0] not in INTEGERS:
        return _ENTROPY.format(term.name)
    smoothing = term.number("label_smoothing", 0.0)
    if not smoothing:
        return 0.0
    if term.given("weight") or term.reduction == "mixed":
        return _ENTROPY.format(term.name)
    sizes = reader.type_of(logits)[1]
    classes = sizes[1 if len(sizes) > 1 else 0]
    others = smoothing / classes
    entropy = -sum(share * math.log(share) for share in [1 - smoothing + others] if share > 0)
    entropy -= (classes - 1) * others * math.log(others)
    return entropy * (term.elements if term.reduction == "sum" else 1)


def _out_of_reach(reader: Reader, term: Term) -> str:
    """Say why targets that are drawn may be none that the prediction can equal, "" if they are."""
    sides = [each for each in (term.operand("self"), term.operand("target")) if each is not None]
    if len(sides) == 1:
        sides = reader.operands(sides[0])
    drawn = [each for each in sides if _drawn_normal(reader, each)]
    for side in sides:
        name = reader.operator(reader.origin(side))
        if drawn and (name in _BOUNDED or (name == "div" and _normalised(reader, side))):
            return f"drawn targets are beyond the range of {name}: give a batch with --data"
    return ""


def _drawn_normal(reader: Reader, reference: graph_pb2.Reference) -> bool:
    stored = reader.stored(reference)
    return (
        stored is not None
        and reader.graph.tensors[stored].draw.WhichOneof("distribution") == "normal"
    )


def _normalised(reader: Reader, reference: graph_pb2.Reference) -> bool:
    """Tell whether a value is divided by its own norm."""
    below = reader.operands(reader.origin(reference))[1:]
    while below:
        name = reader.operator(below[0])
        if name == "linalg_vector_norm":
            return True
        below = (
            reader.operands(below[0])[:1] if name in {"clamp_min", "expand", "expand_as"} else []
        )
    return False


def _two_valued(reader: Reader, term: Term, blobs: Mapping[bytes, bytes | memoryview]) -> bool:
    """Tell whether all targets are 0 or 1."""
    target = term.operand("target")
    if target is None or term.given("weight"):
        return False
    made = reader.operator(reader.origin(target))
    if made in {"one_hot", "ones_like", "zeros_like", "ones", "zeros", "new_ones", "new_zeros"}:
        return True
    stored = reader.stored(target)
    if stored is None:
        return False
    tensor = reader.graph.tensors[stored]
    match tensor.draw.WhichOneof("distribution"):
        case "binary":
            return {tensor.draw.binary.low, tensor.draw.binary.high} <= {0.0, 1.0}
        case "integers":
            return tensor.draw.integers.low >= 0 and tensor.draw.integers.high <= 2
    content = blobs.get(tensor.digest.sha256, b"")
    if tensor.dtype == graph_pb2.SCALAR_TYPE_BOOL:
        return True
    code = _CODES.get(tensor.dtype)
    if code is None or not content:
        return False
    known = {int.from_bytes(struct.pack(f"<{code}", value), "little") for value in (0, 1)}
    words = memoryview(content).cast("B").cast(_WORDS[struct.calcsize(code)])
    return known.issuperset(words)


# How targets are stored, and unsigned integers of as many bytes.
_CODES = {
    graph_pb2.SCALAR_TYPE_FLOAT32: "f",
    graph_pb2.SCALAR_TYPE_FLOAT64: "d",
    graph_pb2.SCALAR_TYPE_FLOAT16: "e",
    graph_pb2.SCALAR_TYPE_INT64: "q",
    graph_pb2.SCALAR_TYPE_INT32: "i",
    graph_pb2.SCALAR_TYPE_UINT8: "B",
}
_WORDS: Mapping[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
