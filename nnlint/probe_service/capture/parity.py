"""Compare a captured graph with the live model, on this machine's CPU, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from nnlint.errors import CaptureError
from nnlint.linter.findings import Location
from nnlint.linter.load import failures
from nnlint.probe_service.capture.bundle import Parity
from nnlint.probe_service.capture.eager import Eager, undisturbed
from nnlint.probe_service.capture.export import Exported
from nnlint.probe_service.replay.program import Program
from nnlint.protos.v1 import graph_pb2

# Relative difference, by norm, from which on a gradient is another one.
TOLERANCE = 1e-4
# A gradient this far below the largest one is rounding, as that of a bias before batch norm.
NEGLIGIBLE = 1e-6


def compare(
    graph: graph_pb2.Graph,
    read: Callable[[graph_pb2.Digest], bytes | memoryview],
    exported: Exported,
    eager: Eager,
    *,
    seed: int,
    fallback: Location,
) -> Parity:
    """Replay a graph for one step and compare its loss and gradients with the live model's.

    Args:
        graph: The encoded graph.
        read: Returns the content of a blob.
        exported: What the graph was encoded from.
        eager: The step of the live model.
        seed: The probe's seed.
        fallback: The line of the model.

    Raises:
        CaptureError: They differ, or the graph does not run.
    """
    program = Program.load(graph, read, device=torch.device("cpu"), seed=seed)
    program.inputs(0)
    try:
        with undisturbed(seed):
            loss = program.forward()
            program.backward(loss)
    except Exception as error:
        raise CaptureError(
            f"the captured graph does not run: {failures.describe(error)}", location=fallback
        ) from error
    loss_error = relative(eager.loss.reshape(()), loss.detach().reshape(()), 0.0)
    equal = identical(eager.loss.reshape(()), loss.detach().reshape(()))
    if loss_error > TOLERANCE:
        raise CaptureError(
            f"the captured graph gives another loss than the model: {loss.item():.6g} instead of "
            f"{eager.loss.item():.6g}{_because(eager)}",
            location=_suspect(eager) or fallback,
        )
    floor = NEGLIGIBLE * max(
        (_norm(g) for g in eager.gradients.values() if g is not None), default=0.0
    )
    worst, compared = 0.0, 0
    for position, names in exported.groups.items():
        expected = _sum(eager.gradients, names)
        found = program.tensor(position).grad
        compared += expected is not None
        equal = equal and _same(expected, found)
        difference = _difference(expected, found, floor)
        worst = max(worst, difference)
        if difference > TOLERANCE:
            site = exported.tensors[position].site
            raise CaptureError(
                f"the captured graph gives another gradient of {names[0]} than the model: its "
                f"norm is {_norm(found):.4g} instead of {_norm(expected):.4g}{_because(eager)}",
                location=_suspect(eager) or site.built or site.location or fallback,
            )
    return Parity(loss_error, worst, equal, compared)


def relative(expected: torch.Tensor, found: torch.Tensor, floor: float) -> float:
    """Return the norm of the difference, divided by the expected norm or the floor.

    Values that are not finite must stand in the same places; the others are compared.
    """
    if expected.shape != found.shape:
        return float("inf")
    if identical(expected, found):
        return 0.0
    a, b = expected.detach().double(), found.detach().double()
    finite = torch.isfinite(a)
    if not torch.equal(finite, torch.isfinite(b)):
        return float("inf")
    a, b = torch.where(finite, a, 0.0), torch.where(finite, b, 0.0)
    size = max(float(a.norm()), floor)
    difference = float((a - b).norm())
    return difference / size if size else float("inf")


def identical(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Tell whether two tensors are equal element by element, NaN being equal to NaN."""
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def _difference(expected: torch.Tensor | None, found: torch.Tensor | None, floor: float) -> float:
    if expected is None and found is None:
        return 0.0
    if expected is None or found is None:
        # A gradient of zeros is as good as none.
        other = expected if expected is not None else found
        return 0.0 if not _norm(other) else float("inf")
    return relative(expected, found, floor)


def _same(expected: torch.Tensor | None, found: torch.Tensor | None) -> bool:
    if expected is None or found is None:
        return expected is found
    return identical(expected, found)


def _sum(
    gradients: Mapping[str, torch.Tensor | None], names: tuple[str, ...]
) -> torch.Tensor | None:
    """Return the gradient of a parameter: separate ones in the same memory add up."""
    found = [gradients[name] for name in names if gradients.get(name) is not None]
    total = found[0] if found else None
    for gradient in found[1:]:
        assert total is not None
        assert gradient is not None
        total = total + gradient
    return total


def _norm(gradient: torch.Tensor | None) -> float:
    return 0.0 if gradient is None else float(gradient.detach().double().norm())


def _because(eager: Eager) -> str:
    names = [each.name for each in eager.functions if not each.own]
    if names:
        return f"; the backward of {names[0]}, a custom autograd function, is not part of a graph"
    if eager.hooked:
        return f"; the backward hook of {eager.hooked[0] or 'the model'} is not part of a graph"
    return ""


def _suspect(eager: Eager) -> Location | None:
    return next((each.location for each in eager.functions if not each.own and each.location), None)
