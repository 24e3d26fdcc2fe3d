"""Reports of probes, made by hand."""

from __future__ import annotations

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
    Leak,
    LearningRateRange,
    Overfit,
    Seeds,
    TrainEval,
)
from nnlint.linter.findings import (
    Check,
    Finding,
    Location,
    ModelReport,
    Outcome,
    Related,
    Report,
    Severity,
)
from nnlint.linter.measured import (
    Measured,
    MeasuredNode,
    MeasuredParameter,
    NonFinite,
    Operand,
    Site,
    Units,
)
from nnlint.linter.probed import Probed

NAN, INF = float("nan"), float("inf")
SOURCE = """import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3)
        self.名前 = nn.Linear(8, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.stem(x).relu().mean((2, 3))
        x = torch.sigmoid(self.名前(x))
        return self.head(x)
"""


def site(path: str, line: int) -> Site:
    place = Location("net.py", line, 13, line, 25)
    return Site(path, place, place)


def node(index: int, name: str, where: Site, *inputs: int, **values: Any) -> MeasuredNode:
    steps = {
        "activation_rms": (0.5, 0.5, 0.5 / (index + 1)),
        "activation_abs_max": (2.0, 2.0, 2.5),
        "gradient_rms": (1e-3, 1e-3, 1e-3),
        "gradient_abs_max": (1e-2, 1e-2, 1e-2),
    }
    return MeasuredNode(index, f"aten.{name}.default", where, inputs, **{**steps, **values})


def parameter(
    name: str, shape: tuple[int, ...], gradient: float | None, *nodes: int
) -> MeasuredParameter:
    return MeasuredParameter(
        name,
        shape,
        rms=(0.1, 0.1, 0.1),
        gradient_rms=(gradient,) * 3,
        gradient_abs_max=(gradient,) * 3,
        update_ratio=(0.001, 0.001, 0.002),
        nodes=nodes,
    )


def measured(**changes: Any) -> Measured:
    nodes = (
        node(0, "conv2d", site("stem", 13), parameters=(0, 1)),
        node(1, "relu", site("", 13), 0, zero_fraction=(0.5, 0.5, 0.6)),
        node(2, "mean", site("", 13), 1),
        node(3, "linear", site("名前", 14), 2, parameters=(2,)),
        node(4, "sigmoid", site("", 14), 3),
        node(5, "linear", site("head", 15), 4, parameters=(3, 4)),
        node(6, "cross_entropy_loss", Site(), 5, in_loss=True, gradient_rms=(None,) * 3),
    )
    values: dict[str, Any] = {
        "model": "Net",
        "location": Location("net.py", 5, 7, 5, 10),
        "batch_size": 16,
        "losses": (2.3026, 2.3011, 2.2987),
        "nodes": nodes,
        "parameters": (
            parameter("stem.weight", (8, 1, 3, 3), 1.5e-7, 0),
            parameter("stem.bias", (8,), None, 0),
            parameter("名前.weight", (16, 8), 3.25e-4, 3),
            parameter("head.weight", (10, 16), 0.0421, 5),
            parameter("head.bias", (10,), 0.05, 5),
        ),
        "units": (
            Units(1, 8, 256, dead=(0, 1, 2, 3, 7)),
            Units(4, 16, 256, saturated=(3,)),
        ),
        "loss": "cross_entropy at train.py:30",
        "learning_rate": 0.01,
        "device": "CPU, 2 threads",
    }
    return Measured(**{**values, **changes})


def probed(**changes: Any) -> Probed:
    values: dict[str, Any] = {
        "model": "Net",
        "path": "net.py",
        "line": 5,
        "measured": measured(),
        "loss_source": "found",
        "gradient_error": 0.0,
        "bit_equal": True,
        "gradients": 4,
        "torch": "2.13.0",
        "sent_bytes": 2048,
        "seconds": 0.25,
    }
    return Probed(**{**values, **changes})


def broken() -> Probed:
    """Return the probe of a model whose loss is NaN, on another machine, that ended early."""
    nodes = (
        node(0, "linear", site("fc", 8), activation_rms=(INF,), parameters=(0,)),
        node(1, "log", site("", 9), 0, activation_rms=(NAN,), gradient_rms=(NAN,)),
    )
    found = NonFinite(
        step=0,
        phase="forward",
        node=1,
        nans=3,
        infinities=1,
        elements=64,
        operands=(Operand("fc", -1.5, 3e38, 0), Operand("its result", 0.0, 0.0, 4, result=True)),
    )
    return probed(
        model="Other",
        line=20,
        status="timed-out",
        reason="the probe took more than 5 seconds",
        location=Location("net.py", 22, 9),
        measured=measured(
            model="Other",
            losses=(NAN,),
            nodes=nodes,
            parameters=(parameter("fc.weight", (4, 4), NAN, 0),),
            units=(),
            non_finite=(found,),
            loss="the mean of the square of the output",
            data="user",
            device="NVIDIA H100",
            optimizer="adamw",
            precision="autocast",
        ),
        loss_source="stand-in",
        gradient_error=1.3e-6,
        bit_equal=False,
        notes=("a hook was left out\x1b[31m",),
        server="gpu-box:7478",
    )


def refused() -> Probed:
    return Probed(
        "Third",
        "net.py",
        30,
        "not-probed",
        "forward branches on a value",
        hint="lint it with `nnlint check`",
        location=Location("net.py", 33, 5),
    )


def experiments(**changes: Any) -> Experiments:
    """Return a result of every kind but for one that was skipped."""
    rates = tuple(10.0 ** (step / 5 - 7) for step in range(40))
    descent = (*(2.5,) * 20, *(2.5 - step / 10 for step in range(15)), 2.0, 4.0, 40.0, 4e3, INF)
    values: dict[str, Any] = {
        "asked": (
            "gradients",
            "initial-loss",
            "overfit",
            "lr-range",
            "isolation",
            "clip",
            "input",
            "seeds",
            "train-eval",
        ),
        "skipped": {"train-eval": "it returns other outputs in evaluation mode"},
        "initial_loss": InitialLoss((2.31, 2.33), 2.302585, "ln 10", 2.2, 10, 1.0),
        "overfit": Overfit(
            56,
            (
                Attempt(1e-3, (2.4, NAN), reached=False),
                Attempt(1e-2, tuple(2.4 * 0.9**step for step in range(43)), reached=True),
            ),
            steps=400,
        ),
        "lr_range": LearningRateRange(rates, descent, descent, 0.02, 0.0083, 1.0),
        "isolation": Isolation(2, (Leak(0, 15, 0.12, 3),)),
        "clip": Clipping(4.0, (2.3, 5.0, NAN), (2.3, 2.2, 2.1), (3.0, 9.0, INF), (3.0, 2.0, 2.0)),
        "input": Inputs(
            (
                InputStatistics(
                    name="x",
                    target=False,
                    shape=(16, 1, 28, 28),
                    dtype="float32",
                    mean=120.0,
                    standard_deviation=70.0,
                    minimum=0.0,
                    maximum=255.0,
                    elements=12544,
                    nans=3,
                ),
                InputStatistics(
                    name="labels",
                    target=True,
                    shape=(16,),
                    dtype="int64",
                    mean=4.5,
                    standard_deviation=2.8,
                    minimum=0.0,
                    maximum=9.0,
                    elements=64,
                    labels={3: 40, 7: 24},
                ),
            ),
            64,
        ),
        "seeds": Seeds(
            (
                Initialisation(2.3, (1.5e-7, None, 3e-4, 0.04, 0.05)),
                Initialisation(2.35, (9.5e-7, None, 3e-4, 0.05, 0.05)),
            ),
            3,
        ),
    }
    return Experiments(**{**values, **changes})


def train_eval() -> TrainEval:
    return TrainEval((2.3, 2.32), (2.31, 2.31))


def report() -> Report:
    vanishing = Finding(
        rule="vanishing-gradient",
        code="NNL990",
        severity=Severity.WARNING,
        message="the gradient of stem is 280 thousand times smaller than that of head",
        location=Location("net.py", 8, 21, 8, 39),
        help="Use ReLU.",
        model="Net",
        modules=("stem",),
        evidence={"ratio": INF},
        related=(Related(Location("net.py", 13, 13), "it is called here", "call"),),
    )
    static = Finding(
        rule="dead-relu",
        code="NNL991",
        severity=Severity.ERROR,
        message="no unit of stem can fire",
        location=Location("net.py", 13, 13, 13, 25),
        model="Net",
        modules=("stem",),
        evidence={
            "probe": {
                "verdict": "confirmed",
                "by": "dead-units",
                "message": "5 of 8 units of `stem` never fire",
            }
        },
    )
    return Report(
        findings=(vanishing, static),
        models=(
            ModelReport("Net", "net.py", 5, analysed=True, capture="fx"),
            ModelReport("Other", "net.py", 20, analysed=True, capture="fx"),
            ModelReport("Third", "net.py", 30, analysed=True, capture="fx"),
        ),
        checks=(Check("vanishing-gradient", "NNL990", "Net", Outcome.FOUND),),
        sources={"net.py": SOURCE},
        probes=(probed(), broken(), refused()),
    )
