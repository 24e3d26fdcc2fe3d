"""Reports of probes that were never run, with everything that a page can show."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from nnlint.linter.experiments import (
    Attempt,
    Clipping,
    Experiments,
    Initialisation,
    InitialLoss,
    Inputs,
    InputStatistics,
    Isolation,
    LearningRateRange,
    Overfit,
    Seeds,
    TrainEval,
)
from nnlint.linter.findings import Finding, Location, Related, Report, Severity
from nnlint.linter.measured import (
    HISTOGRAM_BINS,
    Measured,
    MeasuredNode,
    MeasuredParameter,
    Site,
    Units,
)
from nnlint.linter.probed import Predicted, PredictedLayer, Probed

SOURCE = """import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(8, 16)
        self.body = nn.Linear(16, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.body(x))
        return self.head(x)
"""
STEPS = 4
LAYERS = ("stem", "body", "head")
ALL = (
    "gradients",
    "initial-loss",
    "overfit",
    "lr-range",
    "isolation",
    "train-eval",
    "clip",
    "input",
    "seeds",
)


def place(line: int, column: int = 1, end_column: int = 0, path: str = "net.py") -> Location:
    return Location(path, line, column, line, end_column)


def measured(layers: tuple[str, ...] = LAYERS, model: str = "Net", **values: Any) -> Measured:
    """Return a probe of a chain of linear layers, each followed by a ReLU."""
    counts = [0] * HISTOGRAM_BINS
    counts[30:36] = [4, 16, 64, 32, 8, 4]
    histograms = (tuple(counts),) * STEPS
    nodes, parameters, units = [], [], []
    for index, layer in enumerate(layers):
        line = 8 + index % 3
        site = Site(layer, place(line + 5, 9, 20), None, place(line, 9, 37))
        gradient = 10.0 ** (index % 9 - 6)
        nodes += [
            MeasuredNode(
                2 * index,
                "aten.linear.default",
                site,
                (2 * index - 1,) if index else (),
                (2 * index, 2 * index + 1),
                activation_rms=(0.5,) * STEPS,
                activation_histograms=histograms,
            ),
            MeasuredNode(2 * index + 1, "aten.relu.default", site, (2 * index,)),
        ]
        for offset, (name, shape) in enumerate((("weight", (16, 8)), ("bias", (16,)))):
            parameters.append(
                MeasuredParameter(
                    f"{layer}.{name}",
                    shape,
                    site,
                    rms=(0.1,) * STEPS,
                    gradient_rms=tuple(gradient * (1 + step / 10) for step in range(STEPS)),
                    update_ratio=(0.001,) * STEPS,
                    nodes=(2 * index,),
                    histograms=() if offset else histograms,
                    gradient_histograms=() if offset else histograms,
                )
            )
        if index + 1 < len(layers):
            units.append(Units(2 * index + 1, 16, 256, dead=tuple(range(index % 9))))
    given: dict[str, Any] = {
        "model": model,
        "location": place(5, 7, 10),
        "batch_size": 16,
        "losses": (1.4, 1.3, 1.2, 1.1),
        "nodes": tuple(nodes),
        "parameters": tuple(parameters),
        "units": tuple(units),
        "loss": "cross_entropy at net.py:20",
        "learning_rate": 0.01,
        "device": "CPU, 2 threads",
        "experiments": experiments(len(parameters)),
    }
    return Measured(**{**given, **values})


def experiments(parameters: int) -> Experiments:
    """Return what every experiment found."""
    rates = tuple(10.0 ** (-5 + step / 10) for step in range(60))
    curve = tuple(1.4 - min(step, 40) / 50 + max(step - 45, 0) ** 2 / 20 for step in range(60))
    states = tuple(
        Initialisation(1.4 + seed / 50, tuple(1e-3 * (1 + seed) for _ in range(parameters)))
        for seed in range(3)
    )
    image = InputStatistics(
        name="x",
        target=False,
        shape=(16, 8),
        dtype="float32",
        mean=0.0,
        standard_deviation=1.0,
        minimum=-3.0,
        maximum=3.0,
        elements=128,
        nans=2,
    )
    label = dataclasses.replace(
        image, name="target", target=True, dtype="int64", nans=0, labels=dict.fromkeys(range(4), 4)
    )
    return Experiments(
        asked=ALL,
        skipped={"isolation": "the batch has one sample"},
        initial_loss=InitialLoss((1.4, 1.39), math.log(4), "ln 4", 1.38, 4, 1.0),
        overfit=Overfit(
            56,
            (
                Attempt(0.001, tuple(1.4 * 0.99**step for step in range(100)), reached=False),
                Attempt(0.01, tuple(1.4 * 0.9**step for step in range(60)), reached=True),
            ),
            0.001,
            400,
        ),
        lr_range=LearningRateRange(rates, curve, curve, 0.01, 0.02, 0.5),
        isolation=Isolation(1),
        train_eval=TrainEval((1.4, 1.41), (1.39,)),
        clip=Clipping(
            4.0, (1.4, math.inf, math.nan), (1.4, 1.3, 1.2), (3.0, 9.0, math.inf), (3.0, 9.0, 5.0)
        ),
        input=Inputs((image, label), 16),
        seeds=Seeds(states, parameters),
    )


def finding(**values: Any) -> Finding:
    given: dict[str, Any] = {
        "rule": "dead-units",
        "code": "NNL805",
        "severity": Severity.WARNING,
        "message": "3 of 16 units never fire",
        "location": place(13, 13, 35),
        "help": "use a smaller bias",
        "model": "Net",
        "modules": ("stem",),
        "related": (Related(place(8, 9, 37), "the layer is built here", "built"),),
    }
    return Finding(**{**given, **values})


def probed(what: Measured | None = None, **values: Any) -> Probed:
    what = what or measured()
    told = tuple(
        PredictedLayer(path, 10.0 ** (index % 9 - 6) * 1.2)
        for index, path in enumerate(
            dict.fromkeys(p.name.rpartition(".")[0] for p in what.parameters)
        )
    )
    given: dict[str, Any] = {
        "model": what.model,
        "path": "net.py",
        "line": 5,
        "measured": what,
        "loss_source": "found",
        "gradient_error": 0.0,
        "bit_equal": True,
        "gradients": 6,
        "predicted": Predicted(told, loss=True),
    }
    return Probed(**{**given, **values})


def report(*probes: Probed, findings: tuple[Finding, ...] | None = None) -> Report:
    return Report(
        findings=(finding(),) if findings is None else findings,
        sources={"net.py": SOURCE},
        probes=probes or (probed(),),
    )


def with_gradients(layer: str, gradients: tuple[float | None, ...]) -> Measured:
    """Return a probe in which one layer has other gradients."""
    whole = measured()
    return dataclasses.replace(
        whole,
        parameters=tuple(
            dataclasses.replace(p, gradient_rms=gradients)
            if p.name.rpartition(".")[0] == layer
            else p
            for p in whole.parameters
        ),
    )


HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>{{7*7}}"
"""A name that must be text wherever it stands."""
