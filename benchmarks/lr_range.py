"""Compare the learning rates that the probe suggests with torch-lr-finder's.

Usage: python benchmarks/lr_range.py [--rounds N] [--write docs/performance.md]

The same models, weights, batches, optimiser and schedule for both: 100 steps from 1e-7 to 10, a
moving average of 0.05, the steepest descent. The exit code says whether every suggestion is within
half a decade of theirs and none took longer. Times are those of the steps alone on one core, the
fastest of all rounds; what a whole probe takes, with capture and a server of its own, is shown beside them.

Needs torch-lr-finder: pip install --group bench
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import importlib.util
import io
import math
import multiprocessing
import os
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nnlint
from benchmarks.faults.data import clustered
from benchmarks.faults.table import HEALTHY
from benchmarks.pages import versions, write_section
from nnlint.linter.experiments import LearningRateRange

BATCHES, SIZE = 20, 32
START, END, STEPS = 1e-7, 10.0, 100
HALF_A_DECADE = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """One model with data that it can learn.

    Attributes:
        name: Of its file.
        kind: Of its class.
        optimizer: Name of the optimiser, as the probe has it.
        shape: Of one sample; () for tokens.
        classes: How many.
    """

    name: str
    kind: str
    optimizer: str
    shape: tuple[int, ...]
    classes: int = 10

    def model(self) -> nn.Module:
        """Return the model, with the same weights each time."""
        spec = importlib.util.spec_from_file_location(self.name, HEALTHY / f"{self.name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        torch.manual_seed(0)
        made: nn.Module = getattr(module, self.kind)()
        return made.train()

    def data(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return samples that can be learned, and their labels."""
        return clustered(self.shape, self.classes, BATCHES * SIZE)


CASES = (
    Case("mlp", "MLP", "sgd", (64,)),
    Case("cnn", "CNN", "sgd", (3, 32, 32)),
    Case("resnet", "ResNet", "sgd", (3, 32, 32)),
    Case("vit", "ViT", "adamw", (3, 32, 32)),
    Case("lstm", "LSTMClassifier", "adamw", (), 4),
)


def theirs(case: Case) -> tuple[float, float]:
    """Return torch-lr-finder's suggestion, and the seconds of its steps, in a process of its own.

    So is every probe: the first step of a process sets up what all later ones find.
    """
    fork = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=fork) as alone:
        return alone.submit(_theirs, case).result()


def _theirs(case: Case) -> tuple[float, float]:
    os.environ.setdefault("MPLBACKEND", "Agg")
    from torch_lr_finder import LRFinder

    model = case.model()
    optimizer: torch.optim.Optimizer
    if case.optimizer == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), lr=START)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=START, weight_decay=0.0)
    finder = LRFinder(model, optimizer, nn.CrossEntropyLoss(), device="cpu")
    loader = DataLoader(TensorDataset(*case.data()), batch_size=SIZE)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        started = time.perf_counter()
        finder.range_test(loader, end_lr=END, num_iter=STEPS)
        seconds = time.perf_counter() - started
        _, found = finder.plot()
    return float(found), seconds


def ours(case: Case) -> tuple[LearningRateRange, float, float]:
    """Return what the probe found, the seconds of its steps, and those of all of it."""
    inputs, labels = case.data()
    batches = list(zip(inputs.split(SIZE), labels.split(SIZE), strict=True))
    options: dict[str, Any] = {"optimizer": case.optimizer, "learning_rate": START}
    started = time.perf_counter()
    report = nnlint.probe(
        case.model(),
        batches,
        loss="cross_entropy",
        experiments=("lr-range",),
        samples=BATCHES * SIZE,
        lr_start=START,
        lr_end=END,
        lr_steps=STEPS,
        **options,
    )
    seconds = time.perf_counter() - started
    (probed,) = report.probes
    assert probed.measured is not None, probed.reason
    found = probed.measured.experiments.lr_range
    assert found is not None, probed.reason
    return found, probed.seconds, seconds


def main() -> int:
    """Print both side by side."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="of which the fastest counts")
    parser.add_argument("--write", metavar="PAGE", type=Path, help="page that holds the table")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    # One core for both: threads that wait for each other measure what else the machine does.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    lines = [
        "| model | optimiser | torch-lr-finder | nnlint | decades apart | its steps | ours | whole |",
        "|---|---|---|---|---|---|---|---|",
    ]
    bad = 0
    for case in CASES:
        # Interleaved, so that both meet the same disturbances.
        rounds = [(theirs(case), ours(case)) for _ in range(arguments.rounds)]
        (wanted, _), (found, _, _) = rounds[0]
        slow = min(seconds for (_, seconds), _ in rounds)
        quick = min(seconds for _, (_, seconds, _) in rounds)
        whole = min(seconds for _, (_, _, seconds) in rounds)
        apart = math.inf
        if found.steepest is not None:
            apart = abs(math.log10(found.steepest / wanted))
        bad += apart > HALF_A_DECADE or quick > slow
        lines.append(
            f"| {case.name} | {case.optimizer} | {wanted:.2e} | {found.steepest or math.nan:.2e} "
            f"| {apart:.2f} | {slow:.2f} s | {quick:.2f} s "
            f"| {whole:.2f} s |"
        )
        print(lines[-1], flush=True)
    text = "\n".join((f"{versions()}.", "", *lines))
    print(text)
    if arguments.write:
        write_section(arguments.write, "lr-range", text)
    return int(bool(bad))


if __name__ == "__main__":
    raise SystemExit(main())
