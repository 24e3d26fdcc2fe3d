"""Which labels a loss can be drawn for, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from nnlint.errors import CaptureError
from nnlint.probe_service.capture.feed import Feed, binary, integers, normal
from nnlint.protos.v1 import graph_pb2

# Gives the further tensors of a loss, by parameter name, from the model's output and the
# loss's options.
Drawing = Callable[[torch.Tensor, Mapping[str, Any]], tuple[Feed, ...]]


def targets(loss: str, output: torch.Tensor, options: Mapping[str, Any]) -> tuple[Feed, ...]:
    """Return the tensors that a loss compares an output with, drawn.

    Args:
        loss: Canonical name, "cross_entropy".
        output: What the model predicts.
        options: Literal arguments of the loss.

    Raises:
        CaptureError: Labels of that kind cannot be drawn, or the output does not fit the loss.
    """
    drawing = _DRAWINGS.get(loss)
    if drawing is None:
        raise CaptureError(
            f"labels for {loss} cannot be drawn", hint="Give a batch of your own with --data."
        )
    return drawing(output, options)


def can_draw(loss: str) -> bool:
    """Tell whether labels can be drawn for a loss."""
    return loss in _DRAWINGS


def _classes(output: torch.Tensor, _: Mapping[str, Any]) -> tuple[Feed, ...]:
    dimension = 1 if output.dim() > 1 else 0
    if output.dim() == 0:
        raise CaptureError("the output is a single number, where the loss needs one for each class")
    count = output.shape[dimension]
    if not count:
        raise CaptureError("the output has no class")
    shape = (*output.shape[:dimension], *output.shape[dimension + 1 :])
    return (Feed("target", shape, torch.int64, integers(0, count)),)


def _several_classes(output: torch.Tensor, _: Mapping[str, Any]) -> tuple[Feed, ...]:
    # -1 ends the list of a sample's classes.
    count = output.shape[-1] if output.dim() else 1
    return (Feed("target", tuple(output.shape), torch.int64, integers(-1, count)),)


def _alike(low: float, high: float) -> Drawing:
    def drawing(output: torch.Tensor, _: Mapping[str, Any]) -> tuple[Feed, ...]:
        return (Feed("target", tuple(output.shape), _real(output), binary(low, high)),)

    return drawing


def _gaussian(*names: str) -> Drawing:
    def drawing(output: torch.Tensor, _: Mapping[str, Any]) -> tuple[Feed, ...]:
        return tuple(Feed(n, tuple(output.shape), _real(output), normal()) for n in names)

    return drawing


def _distribution(output: torch.Tensor, options: Mapping[str, Any]) -> tuple[Feed, ...]:
    if not output.dim():
        raise CaptureError("the output is a single number, where the loss needs a distribution")
    dimension = 1 if output.dim() == 4 else output.dim() - 1
    logarithmic = options.get("log_target") is True
    simplex = graph_pb2.Draw.Simplex(dimension=dimension, logarithmic=logarithmic)
    draw = graph_pb2.Draw(simplex=simplex)
    return (Feed("target", tuple(output.shape), _real(output), draw),)


def _counts(output: torch.Tensor, _: Mapping[str, Any]) -> tuple[Feed, ...]:
    return (Feed("target", tuple(output.shape), _real(output), integers(0, 5)),)


def _with_variance(output: torch.Tensor, _: Mapping[str, Any]) -> tuple[Feed, ...]:
    uniform = graph_pb2.Draw(uniform=graph_pb2.Draw.Uniform(low=0.5, high=1.5))
    shape, dtype = tuple(output.shape), _real(output)
    return (Feed("target", shape, dtype, normal()), Feed("var", shape, dtype, uniform))


def _pair(*, per_sample: bool) -> Drawing:
    def drawing(output: torch.Tensor, _: Mapping[str, Any]) -> tuple[Feed, ...]:
        shape, dtype = tuple(output.shape), _real(output)
        signs = shape[:1] if per_sample and len(shape) > 1 else shape
        if per_sample and len(shape) <= 1:
            signs = ()
        return (
            Feed("input2", shape, dtype, normal()),
            Feed("target", signs, dtype, binary(-1.0, 1.0)),
        )

    return drawing


def _real(output: torch.Tensor) -> torch.dtype:
    return output.dtype if output.dtype.is_floating_point else torch.float32


_DRAWINGS: dict[str, Drawing] = {
    "cross_entropy": _classes,
    "nll_loss": _classes,
    "multi_margin_loss": _classes,
    "multilabel_margin_loss": _several_classes,
    "multilabel_soft_margin_loss": _alike(0.0, 1.0),
    "binary_cross_entropy": _alike(0.0, 1.0),
    "binary_cross_entropy_with_logits": _alike(0.0, 1.0),
    "soft_margin_loss": _alike(-1.0, 1.0),
    "hinge_embedding_loss": _alike(-1.0, 1.0),
    "mse_loss": _gaussian("target"),
    "l1_loss": _gaussian("target"),
    "smooth_l1_loss": _gaussian("target"),
    "huber_loss": _gaussian("target"),
    "triplet_margin_loss": _gaussian("positive", "negative"),
    "kl_div": _distribution,
    "poisson_nll_loss": _counts,
    "gaussian_nll_loss": _with_variance,
    "cosine_embedding_loss": _pair(per_sample=True),
    "margin_ranking_loss": _pair(per_sample=False),
}
