"""What the user asks of a probe: plain data without torch or grpc."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Samples in a step where neither the user's batch nor an option says how many.
BATCH_SIZE = 16
# A unit is called dead only when it never fired over this many samples.
SAMPLES = 256
# Gradients are judged after a few steps: at initialisation zero-initialised branches have none.
STEPS = 3
# What the optimisers step with where the user names no learning rate.
LEARNING_RATES = {"sgd": 0.01, "adamw": 0.001}


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """How a probe is run.

    Attributes:
        steps: Optimiser steps, each measured.
        samples: Samples over which the activity of units is judged.
        batch_size: Samples in a step; None for that of the user's batch, or the default.
        device: Where to run; "auto" is cuda where there is one.
        precision: Of the model's arithmetic.
        optimizer: Which optimiser makes the steps.
        learning_rate: None for the optimiser's usual one (SGD 0.01, AdamW 0.001).
        momentum: Of SGD.
        weight_decay: Of the optimiser.
        seed: For drawn data and dropout.
        seconds: Limit of the run itself.
        fit_batch: Whether to halve the batch where memory runs out.
        deterministic: Whether algorithms must be deterministic.
    """

    steps: int = STEPS
    samples: int = SAMPLES
    batch_size: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16", "autocast", "autocast-float16"] = "float32"
    optimizer: Literal["", "sgd", "adamw"] = ""
    learning_rate: float | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    seed: int = 0
    seconds: float = 300.0
    fit_batch: bool = False
    deterministic: bool = False
