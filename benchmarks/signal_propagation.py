"""Compare predicted with measured gradients over a zoo of models.

Usage: python benchmarks/signal_propagation.py [NAME ...] [--seeds 3] [--plot docs/signal.svg]

Each model is built anew for each seed, traced, and its gradients predicted; then it runs forward
and backward once on standard normal inputs (evenly drawn tokens) and drawn labels, with norms in
training mode and without dropout. What is compared for each weight of a linear, convolution,
embedding, attention or recurrent layer is the logarithm of the root mean square of its gradient,
averaged over the seeds. A last layer that starts at zero lets no gradient through, so it is drawn
at random here. The exit code says whether the targets are met.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.probe_zoo import PLAIN, ZOO
from nnlint.linter.engine import model_graph
from nnlint.linter.live import source_of, target_of
from nnlint.linter.operators.base import Family, table
from nnlint.linter.settings import InputSpec, ModelSettings
from nnlint.linter.signal.propagate import predict
from nnlint.linter.trace.positions import UserCode

VOCABULARY = 500
# Targets, in decades and shares.
CLOSE, CLOSE_SHARE, MODEL_SHARE, SECONDS = 0.5, 0.95, 0.8, 1.0
# First over last layer's gradient, in decades, from which on it counts as a direction.
DIRECTION = 1.0
# A gradient is nothing below this share of the largest one: what rounding leaves of an exact zero.
NOTHING = 1e-12


@dataclass(frozen=True, slots=True)
class Layer:
    """One weight: the logarithms of its predicted and measured gradient; None where not known."""

    name: str
    predicted: float | None
    measured: float

    @property
    def error(self) -> float:
        """Predicted less measured; infinite where nothing is predicted."""
        return math.inf if self.predicted is None else self.predicted - self.measured


def without_dropout(model: nn.Module) -> None:
    """Set every rate of dropout and of dropped paths to zero."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):  # noqa: SLF001 - the base of all kinds
            module.p = 0.0
        for name in ("drop_prob", "dropout", "attention_dropout", "attn_dropout_p"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
        if type(module).__name__ == "StochasticDepth":
            module.p = 0.0


def made(name: str, seed: int) -> tuple[nn.Module, tuple[InputSpec, ...], str]:
    """Build a model of the zoo."""
    torch.manual_seed(seed)
    model, inputs, loss = ZOO[name]()
    without_dropout(model.train())
    for module in model.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    return model, inputs, loss


def drawn(inputs: Sequence[InputSpec], generator: torch.Generator) -> list[torch.Tensor]:
    """Draw inputs."""
    return [
        torch.randn(each.shape, generator=generator)
        if "float" in each.dtype
        else torch.randint(0, VOCABULARY, each.shape, generator=generator)
        for each in inputs
    ]


def run(model: nn.Module, inputs: Sequence[InputSpec], loss: str, seed: int) -> None:
    """Run one forward and one backward pass."""
    generator = torch.Generator().manual_seed(100 + seed)
    output: Any = model(*drawn(inputs, generator))
    if not isinstance(output, torch.Tensor):
        output = output[0]
    if loss == "cross_entropy":
        size = (output.shape[0], *output.shape[2:])
        labels = torch.randint(0, output.shape[1], size, generator=generator)
        value = nn.functional.cross_entropy(output, labels)
    else:
        value = nn.functional.mse_loss(output, torch.randn(output.shape, generator=generator))
    value.backward()


def weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the weights of layers that are no norms, in the order of registration."""
    for path, module in model.named_modules():
        op = table().module(type(module))
        if op is not None and op.family is Family.NORM:
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() > 1 and "weight" in name:
                yield f"{path}.{name}", parameter


def compared(name: str, seeds: int) -> tuple[list[Layer], float]:
    """Return a model's layers and the longest time of a prediction."""
    found: dict[str, list[tuple[float | None, float]]] = {}
    slowest = 0.0
    for seed in range(seeds):
        model, inputs, loss = made(name, seed)
        path, text, source = source_of(type(model))
        graph = model_graph(
            model,
            target=target_of(model, path, source),
            source=source,
            settings=ModelSettings(inputs=inputs),
            code=UserCode(path, text, ""),
            built_at=lambda _: None,
            loss=loss,
        )
        started = time.process_time()
        signal = predict(graph)
        slowest = max(slowest, time.process_time() - started)
        run(model, inputs, loss, seed)
        rows = [
            (each, signal.gradient_rms(parameter), float(parameter.grad.double().square().mean()))
            for each, parameter in weights(model)
            if parameter.grad is not None
        ]
        largest = max((power for _, _, power in rows), default=0.0)
        for each, rms, power in rows:
            if power > largest * NOTHING**2:
                known = math.log10(rms) if rms else None
                found.setdefault(each, []).append((known, math.log10(power) / 2))
    layers = []
    for each, values in found.items():
        known = [p for p, _ in values if p is not None]
        middle = statistics.mean(known) if len(known) == len(values) else None
        layers.append(Layer(each, middle, statistics.mean(m for _, m in values)))
    return layers, slowest


def direction(values: Sequence[float]) -> float:
    """Return how gradients change on their way back: first quarter less last, in decades."""
    quarter = max(len(values) // 4, 1)
    return statistics.mean(values[:quarter]) - statistics.mean(values[-quarter:])


def right_direction(layers: Sequence[Layer]) -> bool:
    """Tell whether vanishing, flat and exploding are told apart as they were measured."""
    known = [(x.predicted, x.measured) for x in layers if x.predicted is not None]
    if len(known) < 2:
        return False
    told, real = (direction([pair[k] for pair in known]) for k in (0, 1))

    def kind(value: float) -> int:
        return 0 if abs(value) < DIRECTION else int(math.copysign(1, value))

    return kind(told) == kind(real) or abs(told - real) < CLOSE


def plot(points: Sequence[tuple[float, float]], path: Path) -> None:
    """Draw predicted against measured gradients as an SVG file."""
    low = math.floor(min(min(p) for p in points))
    high = math.ceil(max(max(p) for p in points))
    size, edge = 520, 50
    scale = size / (high - low)

    def at(value: float) -> float:
        return (value - low) * scale

    def line(shift: float, style: str) -> str:
        a, b = max(low, low - shift), min(high, high - shift)
        return (
            f'<line x1="{edge + at(a):.1f}" y1="{edge + size - at(a + shift):.1f}" '
            f'x2="{edge + at(b):.1f}" y2="{edge + size - at(b + shift):.1f}" {style}/>'
        )

    dots = sorted({(round(at(m)), round(at(p))) for p, m in points})
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size + 2 * edge} {size + 2 * edge}" '
            'font-family="sans-serif" font-size="13">'
        ),
        f'<rect width="{size + 2 * edge}" height="{size + 2 * edge}" fill="white"/>',
        f'<rect x="{edge}" y="{edge}" width="{size}" height="{size}" fill="none" stroke="#888"/>',
        line(0, 'stroke="#333"'),
        line(CLOSE, 'stroke="#999" stroke-dasharray="4"'),
        line(-CLOSE, 'stroke="#999" stroke-dasharray="4"'),
        *(f'<circle cx="{edge + x}" cy="{edge + size - y}" r="2" fill="#2a6"/>' for x, y in dots),
    ]
    for tick in range(low, high + 1, 2):
        parts.append(
            f'<text x="{edge + at(tick):.0f}" y="{edge + size + 18}" text-anchor="middle">1e{tick}</text>'
        )
        parts.append(
            f'<text x="{edge - 6}" y="{edge + size - at(tick) + 4:.0f}" text-anchor="end">1e{tick}</text>'
        )
    middle = edge + size / 2
    parts += [
        f'<text x="{middle}" y="{edge + size + 38}" text-anchor="middle">measured gradient (RMS)</text>',
        (
            f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
            "predicted gradient (RMS)</text>"
        ),
        (
            f'<text x="{middle}" y="{edge - 14}" text-anchor="middle">one dot for each layer; '
            "dashed: half a decade</text>"
        ),
        "</svg>",
    ]
    path.write_text("\n".join(parts) + "\n")


def main() -> int:
    """Print a line for each model; the exit code says whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="models, all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="write a plot as SVG")
    parser.add_argument("--layers", action="store_true", help="print each layer")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    everything: list[Layer] = []
    shares, wrong, slow, plain = [], [], [], 0.0
    for name in arguments.names or ZOO:
        layers, seconds = compared(name, arguments.seeds)
        errors = [abs(layer.error) for layer in layers]
        share = sum(e < CLOSE for e in errors) / len(errors)
        right = right_direction(layers)
        everything += layers
        shares.append(share)
        wrong += [] if right else [name]
        slow += [name] if seconds > SECONDS else []
        if name in PLAIN.split():
            plain = max(plain, statistics.median(errors))
        print(
            f"{name:24s} {len(layers):3d} layers  within {CLOSE}: {share:6.1%}  "
            f"median {statistics.median(errors):.2f}  worst {max(errors):.2f}  "
            f"direction {'right' if right else 'WRONG'}  {seconds:.2f} s",
            flush=True,
        )
        if arguments.layers:
            for layer in layers:
                print(f"    {layer.name:60s} {layer.measured:7.2f} {layer.error:+.2f}")
    within = sum(abs(layer.error) < CLOSE for layer in everything) / len(everything)
    print(
        f"{len(shares)} models, {len(everything)} layers: {within:.1%} within {CLOSE} of a decade, "
        f"no model under {min(shares):.0%}; wrong direction: {', '.join(wrong) or 'none'}; "
        f"over {SECONDS:g} s: {', '.join(slow) or 'none'}; median of plain networks at most {plain:.2f}"
    )
    if arguments.plot:
        plot(
            [(x.predicted, x.measured) for x in everything if x.predicted is not None],
            arguments.plot,
        )
    return int(within < CLOSE_SHARE or min(shares) < MODEL_SHARE or bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
