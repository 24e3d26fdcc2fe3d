"""Predict a live model's gradients, and measure them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from nnlint.linter.discover.targets import Target
from nnlint.linter.engine import model_graph
from nnlint.linter.findings import Location
from nnlint.linter.graph import ModelGraph
from nnlint.linter.settings import InputSpec, ModelSettings
from nnlint.linter.signal.propagate import Signal, predict
from nnlint.linter.trace.positions import UserCode

TOKENS = 50


def graph_of(
    model: nn.Module, shape: Sequence[int], *, loss: str = "cross_entropy", dtype: str = "float32"
) -> ModelGraph:
    """Trace a model for one input."""
    name = type(model).__name__
    return model_graph(
        model.train(),
        target=Target(name, "instance", Location("model.py", 1), name),
        source=None,
        settings=ModelSettings(inputs=(InputSpec(tuple(shape), dtype),)),
        code=UserCode("model.py", "", ""),
        built_at=lambda _: None,
        loss=loss,
    )


def predicted(
    model: nn.Module, shape: Sequence[int], *, loss: str = "cross_entropy", dtype: str = "float32"
) -> Signal:
    """Predict the signal of a model."""
    return predict(graph_of(model, shape, loss=loss, dtype=dtype))


def measured(
    model: nn.Module,
    shape: Sequence[int],
    *,
    loss: str = "cross_entropy",
    dtype: str = "float32",
    batches: int = 6,
) -> Mapping[str, float]:
    """Return the root mean square of each parameter's gradient over some drawn batches."""
    powers: dict[str, float] = {}
    generator = torch.Generator().manual_seed(1)
    for _ in range(batches):
        if dtype == "int64":
            x = torch.randint(0, TOKENS, tuple(shape), generator=generator)
        else:
            x = torch.randn(tuple(shape), generator=generator)
        model.zero_grad()
        y = model(x)
        if loss == "cross_entropy":
            size = (y.shape[0], *y.shape[2:])
            target = torch.randint(0, y.shape[1], size, generator=generator)
        else:
            target = torch.rand(y.shape, generator=generator).round()
            if loss in {"mse_loss", "l1_loss"}:
                target = torch.randn(y.shape, generator=generator)
        getattr(nn.functional, loss)(y, target).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                power = float(parameter.grad.double().square().mean())
                powers[name] = powers.get(name, 0.0) + power / batches
    return {name: power**0.5 for name, power in powers.items()}
