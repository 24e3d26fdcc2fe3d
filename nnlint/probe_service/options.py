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
# Samples that a sound model learns by heart, and the most steps for it with one learning rate.
OVERFIT_SAMPLES = 56
OVERFIT_STEPS = 400
# The learning rates of a range test, as torch-lr-finder's.
LR_START, LR_END, LR_STEPS = 1e-7, 10.0, 100
# Largest norm of all gradients together.
MAX_NORM = 4.0
CLIP_STEPS = 10
# Initialisations beside the one that was captured.
SEEDS = 4
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
        experiments: What is done, by the names of the protocol ("lr_range").
        histograms: Whether steps carry histograms.
        overfit_steps: Most steps by which samples are learned by heart.
        lr_start: First learning rate of the range test.
        lr_end: Last one.
        lr_steps: How many.
        lr_linear: Whether they have equal differences, not equal factors.
        max_norm: Largest norm of all gradients together, where they are clipped.
        clip_steps: Steps without and with clipping.
        seeds: Initialisations beside the one that was captured.
        predict: Whether the client predicts gradients as well, to be held against what is measured.
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
    experiments: tuple[str, ...] = ("gradients",)
    histograms: bool = False
    overfit_steps: int = OVERFIT_STEPS
    lr_start: float = LR_START
    lr_end: float = LR_END
    lr_steps: int = LR_STEPS
    lr_linear: bool = False
    max_norm: float = MAX_NORM
    clip_steps: int = CLIP_STEPS
    seeds: int = SEEDS
    predict: bool = False
