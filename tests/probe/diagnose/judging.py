"""Judge measurements made by hand with one rule."""

from __future__ import annotations

import dataclasses
from typing import Any

from nnlint.linter.experiments import (
    NAMES,
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
from nnlint.linter.findings import Finding, Outcome
from nnlint.linter.measured import Measured
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.rules.base import rule_by_key
from tests.probe.diagnose.made import (
    chain,
)

HEALTHY = chain([1e-3, 2e-3, 3e-3, 1e-2])


def _statistics(name: str, **values: Any) -> InputStatistics:
    """Return statistics of 16 numbers in each of 16 batches, of deviation 1."""
    kind = "int64" if values["target"] else "float32"
    return InputStatistics(
        name, shape=(16,), dtype=kind, standard_deviation=1.0, elements=256, **values
    )


# The same model with every experiment made, and nothing wrong.
WHOLE = dataclasses.replace(
    HEALTHY,
    data="user",
    optimizer_given=True,
    learning_rate=0.1,
    experiments=Experiments(
        asked=NAMES,
        initial_loss=InitialLoss(
            (2.31, 2.29), expected=2.303, theory="ln 10", prior=2.30, classes=10, doubled=1.0
        ),
        overfit=Overfit(56, (Attempt(0.001, (2.3, 1.0, 0.1), reached=True),), steps=400),
        lr_range=LearningRateRange(
            (0.001, 0.01, 0.1, 1.0, 10.0),
            (2.3, 2.2, 1.5, 1.9, 20.0),
            (2.3, 2.2, 1.5, 1.9, 20.0),
            steepest=0.1,
            valley=0.05,
            diverged=10.0,
        ),
        isolation=Isolation(compared=1),
        train_eval=TrainEval((1.0, 1.02, 0.99, 1.01), (1.0, 1.0, 1.0, 1.0)),
        clip=Clipping(4.0, (2.3, 2.2), (2.3, 2.2), (1.0, 1.0), (1.0, 1.0)),
        input=Inputs(
            (
                _statistics("x", target=False, mean=0.0, minimum=-3.0, maximum=3.0),
                _statistics(
                    "y",
                    target=True,
                    mean=4.5,
                    minimum=0.0,
                    maximum=9.0,
                    labels=dict.fromkeys(range(10), 25),
                ),
            ),
            samples=256,
        ),
        seeds=Seeds((Initialisation(2.3, (0.1,)), Initialisation(2.31, (0.11,))), shuffled=4),
    ),
)


def judge(rule: str, measured: Measured) -> list[Finding]:
    findings, _ = run_probe_rules(measured, [rule_by_key()[rule]])
    assert not [f for f in findings if f.code == "NNL002"], findings
    return list(findings)


def only(rule: str, measured: Measured) -> Finding:
    found = judge(rule, measured)
    assert len(found) == 1, found
    return found[0]


def reason(rule: str, measured: Measured) -> str:
    findings, checks = run_probe_rules(measured, [rule_by_key()[rule]])
    assert not findings
    assert checks[0].outcome is Outcome.NOT_CHECKED
    return checks[0].reason
