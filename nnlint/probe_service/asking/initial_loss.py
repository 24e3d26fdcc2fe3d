"""Ask for the loss before the first step, and compare it with what theory expects.

A classifier that knows nothing gives each of its C classes the same probability, and its
cross-entropy is ln C, whatever the labels are: the check of a fresh network that Karpathy's "A
Recipe for Training Neural Networks" (2019) and the course notes of Stanford's CS231n name first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from nnlint.linter.experiments import InitialLoss
from nnlint.probe_service.asking import capacity
from nnlint.probe_service.asking.base import Subject, Work
from nnlint.probe_service.asking.losses import INTEGERS, Reader, Term, UnknownLossError
from nnlint.probe_service.replay.violations import Violation
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "initial_loss"
_BATCHES = 4
_BY_CLASS = frozenset({"cross_entropy_loss", "nll_loss", "nll_loss2d", "nll_loss_nd"})
_BY_TRUTH = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})


def ask(subject: Subject) -> pb.InitialLossExperiment | str:
    """Return the settings, or why the loss means nothing."""
    if subject.capture.loss_source == "stand-in":
        return "no loss was found, and that of random numbers in its place means nothing"
    batches = min(_BATCHES, capacity.different(subject.graph) or _BATCHES)
    return pb.InitialLossExperiment(batches=min(batches, subject.limits.steps or batches))


def check(
    field: str, experiment: pb.InitialLossExperiment, limits: pb.Limits
) -> Iterator[Violation]:
    """Yield what is wrong with settings."""
    if not 1 <= experiment.batches <= limits.steps:
        text = f"{experiment.batches} is not from 1 to {limits.steps}"
        yield Violation(f"{field}.batches", text)


def work(experiment: pb.InitialLossExperiment) -> Work:
    """Return the most that is done."""
    return Work(steps=experiment.batches)


def graphs(_experiment: pb.InitialLossExperiment) -> list[graph_pb2.Digest]:
    """Return no further graphs."""
    return []


def read(result: measurement_pb2.InitialLossResult, subject: Subject) -> InitialLoss | None:
    """Return the losses with what is expected of them; None without any loss."""
    if not result.losses:
        return None
    losses = tuple(result.losses)
    doubled = subject.capture.doubled
    reader = Reader(subject.graph)
    try:
        terms = reader.terms()
    except UnknownLossError as error:
        reason = f"the loss is computed by {error}, for which there is no theory"
        return InitialLoss(losses, doubled=doubled, reason=reason)
    expected, words = 0.0, []
    for term in terms:
        found = _expected(reader, term)
        if isinstance(found, str):
            return InitialLoss(losses, doubled=doubled, reason=found)
        value, word = found
        expected += value
        words.append(word)
    main = max(terms, key=lambda term: abs(term.weight))
    return InitialLoss(
        losses,
        expected=expected,
        theory=" + ".join(words),
        prior=_prior(reader, main, result.labels),
        classes=_classes(reader, main),
        doubled=doubled,
    )


def _expected(reader: Reader, term: Term) -> tuple[float, str] | str:
    """Return what an uninformed model's loss is, with the words for it, or why that is not known."""
    if term.operator in _BY_CLASS:
        reason = _no_class_theory(reader, term)
        chances = _classes(reader, term)
    elif term.operator in _BY_TRUTH:
        weighted = term.given("weight") or term.given("pos_weight")
        reason = f"{term.name} weighs its elements" if weighted else ""
        chances = 2
    else:
        return f"what {term.name} begins with depends on the scale of outputs and targets"
    if not reason and chances < 2:
        reason = f"{term.name} of one class is always 0"
    if not reason and term.reduction == "mixed":
        reason = f"{term.name} is neither averaged nor summed over all elements"
    if reason:
        return reason
    factor = term.weight * (term.elements if term.reduction == "sum" else 1)
    word = f"ln {chances}" if factor == 1 else f"{factor:g} ln {chances}"
    return factor * math.log(chances), word


def _no_class_theory(reader: Reader, term: Term) -> str:
    """Say why equal probabilities do not give ln C, "" where they do.

    A mean that is weighted by the classes of integer labels divides by the sum of their weights,
    and is ln C again. So is that with smoothed labels, and with distributions as targets, since
    their shares add up to 1; but weights and shares together are not.
    """
    prediction, target = term.operand("self"), term.operand("target")
    if prediction is None or target is None:
        return f"{term.name} takes no prediction that could be followed"
    if term.operator != "cross_entropy_loss":
        made = reader.operator(reader.origin(prediction))
        if made not in {"log_softmax", "_log_softmax"}:
            return f"{term.name} takes no log-probabilities"
    whole = reader.type_of(target)[0] in INTEGERS
    shared = not whole or term.number("label_smoothing", 0.0) > 0
    if term.given("weight") and (shared or term.reduction != "mean"):
        return f"{term.name} weighs its classes"
    return ""


def _classes(reader: Reader, term: Term) -> int:
    """Return the number of classes, 0 where there are none."""
    prediction = term.operand("self")
    if term.operator in _BY_TRUTH:
        return 2
    if term.operator not in _BY_CLASS or prediction is None:
        return 0
    sizes = reader.type_of(prediction)[1]
    return sizes[1 if len(sizes) > 1 else 0] if sizes else 0


def _prior(
    reader: Reader, term: Term, labels: Sequence[measurement_pb2.LabelCounts]
) -> float | None:
    """Return the entropy of the labels that were seen, in nats."""
    target = term.operand("target")
    stored = None if target is None else reader.stored(target)
    whole = [
        index
        for index, tensor in enumerate(reader.graph.tensors)
        if tensor.role == graph_pb2.Tensor.ROLE_TARGET and tensor.dtype in INTEGERS
    ]
    if term.operator not in _BY_CLASS or stored not in whole or len(labels) != len(whole):
        return None
    counted = labels[whole.index(stored)]
    ignored = int(term.number("ignore_index", -100)) - counted.first
    counts = [count for label, count in enumerate(counted.counts) if count and label != ignored]
    total = sum(counts)
    if not total:
        return None
    return -sum(count / total * math.log(count / total) for count in counts)
