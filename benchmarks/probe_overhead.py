"""Measure what measuring costs: full statistics at every step, against the same steps without.

Usage: python benchmarks/probe_overhead.py [--device cpu|cuda] [--rounds N] [--threads N] [--cpu-time] [MODEL ...]

A step is forward, backward and SGD with momentum. Five ways run in turn, one step each a round, so
that whatever else the machine does meets all of them:

    replay    the probe's loop over the graph, nothing measured
    probe     the same with every statistic of every node and parameter
    eager     the model itself
    hooks     eager with a forward and a backward hook on every layer: norm, largest magnitude and
              share of zeros of each output and its gradient, read with .item()
    watch     eager with what wandb.watch(log="all") computes at every step: for each parameter and
              each gradient five answers from the device and a histogram of 64 bins

A ratio is the median over rounds of one step's time by that of its base in the same round: replay
for probe, eager for hooks and watch. The exit code is 1 where probe is beyond its bound.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.probe_zoo import torchvision
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.options import BATCH_SIZE
from nnlint.probe_service.replay.measure import Meter
from nnlint.probe_service.replay.optimise import Trainer
from nnlint.probe_service.replay.plan import plan
from nnlint.probe_service.replay.program import Program
from nnlint.protos.v1 import graph_pb2, probe_service_pb2

BOUNDS = {"cpu": 1.25, "cuda": 1.10}
# Base of each way.
WAYS = {"replay": "eager", "probe": "replay", "eager": "eager", "hooks": "eager", "watch": "eager"}
RATE, MOMENTUM = 1e-3, 0.9


class Transformer(nn.Module):
    """A small encoder over tokens."""

    def __init__(self, width: int = 256, layers: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, width)
        layer = nn.TransformerEncoderLayer(width, 8, 4 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 1000)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return class scores of each sequence."""
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


def made(name: str, device: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Return a model with inputs and labels."""
    # On the CPU the batch that a probe takes by default.
    batch, size = (BATCH_SIZE, 64) if device == "cpu" else (32, 224)
    labels = torch.randint(0, 1000, (batch,))
    if name == "transformer":
        return Transformer(), torch.randint(0, 1000, (batch, 64)), labels
    model = getattr(torchvision(), name)(weights=None)
    return model, torch.randn(batch, 3, size, size), labels


MODELS = ("resnet18", "mobilenet_v3_small", "transformer")


class Eager:
    """Steps of the model itself."""

    def __init__(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> None:
        self.model, self.x, self.labels = model, x, labels
        self.optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM)

    def step(self) -> None:
        """Make a step."""
        self.optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(self.model(self.x), self.labels).backward()
        self.optimizer.step()


class Hooked(Eager):
    """With naive module hooks."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seen: list[float] = []
        for module in self.model.modules():
            if not list(module.children()):
                module.register_forward_hook(self._forward)

    def _forward(self, module: nn.Module, inputs: Any, output: Any) -> None:
        del module, inputs
        if isinstance(output, torch.Tensor):
            self._log(output.detach())
            if output.requires_grad:
                output.register_hook(self._backward)

    def _backward(self, gradient: torch.Tensor) -> None:
        self._log(gradient)

    def _log(self, value: torch.Tensor) -> None:
        self.seen.append(value.norm().item())
        self.seen.append(value.abs().max().item())
        self.seen.append((value == 0).float().mean().item())

    def step(self) -> None:
        """Make a step."""
        self.seen.clear()
        super().step()


class Watched(Eager):
    """With the operations of wandb.watch(log="all", log_freq=1)."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seen: list[torch.Tensor] = []
        for module in self.model.modules():
            if list(module.parameters(recurse=False)):
                module.register_forward_hook(self._forward)
        for parameter in self.model.parameters():
            parameter.register_hook(self._backward)

    def _forward(self, module: nn.Module, inputs: Any, output: Any) -> None:
        del inputs, output
        for parameter in module.parameters(recurse=False):
            self._log(parameter.data)

    def _backward(self, gradient: torch.Tensor) -> None:
        self._log(gradient.data)

    def _log(self, tensor: torch.Tensor) -> None:
        flat = tensor.clone().reshape(-1)
        if (~torch.isfinite(flat)).all().item():
            return
        if not torch.isfinite(flat).all():
            flat = flat[torch.isfinite(flat)]
        low, high = flat.min().item(), flat.max().item()
        counts = flat.histc(bins=64, min=low, max=high).cpu().detach().clone()
        self.seen.append(counts)
        self.seen.append(torch.linspace(low, high, steps=65))

    def step(self) -> None:
        """Make a step."""
        self.seen.clear()
        super().step()


def replayed(
    model: nn.Module, x: torch.Tensor, labels: torch.Tensor, device: torch.device
) -> tuple[Callable[[], Any], Callable[[], Any], int]:
    """Return a bare and a measured step of the probe, and how many nodes are observed."""
    captured = capture_live(model, (x, labels), F.cross_entropy)
    graph = graph_pb2.Graph.FromString(captured.graph)
    settings = probe_service_pb2.Optimizer(learning_rate=RATE)
    settings.sgd.momentum = MOMENTUM

    def trainer() -> Trainer:
        program = Program.load(graph, lambda digest: captured.blobs[digest.sha256], device=device)
        return Trainer(program, settings)

    bare, measured = trainer(), trainer()
    observed = plan(graph, measured.program.calls, measured.program.parameters)
    meter = Meter(observed, device, len(measured.program.calls))
    # Always step 0: no state is saved, and both draw the same.
    return (
        lambda: bare.bare(0),
        lambda: measured.measured(0, meter),
        len(observed.nodes),
    )


def time_of(step: Callable[[], Any], device: torch.device, clock: Callable[[], float]) -> float:
    """Return the seconds of one step."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = clock()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def compare(
    name: str, device: torch.device, rounds: int, clock: Callable[[], float]
) -> tuple[dict[str, list[float]], int]:
    """Return the seconds of each way in each round, and how many nodes are observed."""
    torch.manual_seed(0)
    model, x, labels = made(name, device.type)
    bare, measured, observed = replayed(model, x, labels, device)
    steps: dict[str, Callable[[], Any]] = {"replay": bare, "probe": measured}
    for way, kind in {"eager": Eager, "hooks": Hooked, "watch": Watched}.items():
        model, x, labels = made(name, device.type)
        steps[way] = kind(model.to(device), x.to(device), labels.to(device)).step
    for step in steps.values():
        for _ in range(2):
            step()
    times: dict[str, list[float]] = {way: [] for way in steps}
    for number in range(rounds):
        # In turn forwards and backwards, so that no way always follows the same other.
        for way in list(steps) if number % 2 else list(reversed(steps)):
            times[way].append(time_of(steps[way], device, clock))
    return times, observed


def main() -> None:
    """Print a table for each device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count processor time instead of the clock's, on a machine that others use as well",
    )
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu_time else time.perf_counter
    devices = [options.device] if options.device else ["cpu"] + ["cuda"] * torch.cuda.is_available()
    beyond = False
    for kind in devices:
        device = torch.device(kind)
        name = (
            torch.cuda.get_device_name() if kind == "cuda" else f"{torch.get_num_threads()} threads"
        )
        print(f"{kind} ({name}), torch {torch.__version__}, {options.rounds} rounds")
        print(f"{'model':20}{'nodes':>6}" + "".join(f"{way:>18}" for way in WAYS))
        for model in options.models or MODELS:
            times, observed = compare(model, device, options.rounds, clock)
            row = f"{model:20}{observed:6}"
            for way, base in WAYS.items():
                ratio = statistics.median(
                    mine / other for mine, other in zip(times[way], times[base], strict=True)
                )
                row += f"{1000 * statistics.median(times[way]):10.1f} ms {ratio:4.2f}x"
                if way == "probe":
                    beyond = beyond or ratio > BOUNDS[kind]
            print(row, flush=True)
        print(f"probe is bounded by {BOUNDS[kind]:.2f}x")
    sys.exit(beyond)


if __name__ == "__main__":
    main()
