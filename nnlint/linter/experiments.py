"""What the experiments of a probe found, as plain data; no torch.

Losses and norms may be NaN or infinite: these are measured values. An experiment that was not asked
for, could not be asked of the model or did not come to its end is None in `Experiments`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nnlint.errors import UsageError

NAMES = (
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
"""All experiments, as on the command line."""


@dataclass(frozen=True, slots=True)
class InitialLoss:
    """The loss before the first step, and what theory expects.

    Attributes:
        losses: Of each batch.
        expected: What an uninformed model's loss is; None where no theory applies.
        theory: For people: "ln 10".
        prior: Entropy of the labels that were seen, the loss of a model that knows their shares;
            None where there are none.
        classes: Number of classes, 0 where there are none.
        doubled: The loss of the batch taken twice, divided by that of the batch: 1 for an average
            and 2 for a sum; None where it was not tried.
        reason: Why `expected` is None.
    """

    losses: tuple[float, ...]
    expected: float | None = None
    theory: str = ""
    prior: float | None = None
    classes: int = 0
    doubled: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Steps with one optimiser.

    Attributes:
        learning_rate: Of the optimiser.
        losses: Before each step.
        reached: Whether the loss came near its floor.
    """

    learning_rate: float
    losses: tuple[float, ...]
    reached: bool


@dataclass(frozen=True, slots=True)
class Overfit:
    """Whether a few samples could be learned by heart.

    Attributes:
        samples: How many.
        attempts: One for each learning rate that was tried.
        floor: What the loss cannot fall below.
        steps: Most steps of an attempt.
    """

    samples: int
    attempts: tuple[Attempt, ...]
    floor: float = 0.0
    steps: int = 0

    @property
    def reached(self) -> bool:
        """Whether an attempt came near the floor."""
        return any(each.reached for each in self.attempts)


@dataclass(frozen=True, slots=True)
class LearningRateRange:
    """The loss under a growing learning rate.

    Attributes:
        learning_rates: Of each step.
        losses: Before each step.
        smoothed: Moving average of the losses.
        steepest: Rate at which the average falls fastest.
        valley: Rate in the middle of the longest descent.
        diverged: Rate at which the loss diverged.
        linear: Whether rates have equal differences, not equal factors.
    """

    learning_rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float | None = None
    valley: float | None = None
    diverged: float | None = None
    linear: bool = False


@dataclass(frozen=True, slots=True)
class Leak:
    """An output that changes with another sample's input.

    Attributes:
        output: Position among the model's outputs.
        samples: Samples whose output changed.
        change: Largest change, relative to the output's RMS.
        node: Position of the first operation that mixed samples, None where it is not known.
    """

    output: int
    samples: int
    change: float
    node: int | None = None


@dataclass(frozen=True, slots=True)
class Isolation:
    """Whether samples of a batch are independent of each other.

    Attributes:
        compared: How many outputs were compared.
        leaks: Those that change with another sample's input.
        batch_statistics: Whether batch norm without running statistics takes part.
    """

    compared: int
    leaks: tuple[Leak, ...] = ()
    batch_statistics: bool = False


@dataclass(frozen=True, slots=True)
class TrainEval:
    """The loss of one batch in training and in evaluation mode, with settled running statistics.

    Attributes:
        train_losses: With different random streams.
        eval_losses: Likewise; equal unless evaluation draws random numbers.
    """

    train_losses: tuple[float, ...]
    eval_losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Clipping:
    """The same steps without and with clipped gradients.

    Attributes:
        max_norm: Largest norm that was let through.
        losses: Before each step, without clipping.
        clipped_losses: With it.
        norms: L2 norm of all gradients, without clipping.
        clipped_norms: Before they were clipped.
    """

    max_norm: float
    losses: tuple[float, ...]
    clipped_losses: tuple[float, ...]
    norms: tuple[float, ...]
    clipped_norms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class InputStatistics:
    """One input or target.

    Attributes:
        name: For people.
        target: Whether it is what the loss compares with.
        shape: Sizes in one step.
        dtype: Element type.
        mean: Over the finite values of all batches, as are the next three.
        standard_deviation: Of the elements.
        minimum: Least value.
        maximum: Largest value.
        elements: How many were looked at.
        nans: How many of them are NaN.
        infinities: How many are infinite.
        repeated_samples: Samples that are equal to another one.
        labels: How often each label occurs, for integers.
    """

    name: str
    target: bool
    shape: tuple[int, ...]
    dtype: str
    mean: float
    standard_deviation: float
    minimum: float
    maximum: float
    elements: int
    nans: int = 0
    infinities: int = 0
    repeated_samples: int = 0
    labels: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the data of a probe look like.

    Attributes:
        tensors: Inputs, then targets.
        samples: How many were looked at.
    """

    tensors: tuple[InputStatistics, ...]
    samples: int


@dataclass(frozen=True, slots=True)
class Initialisation:
    """One initialisation.

    Attributes:
        loss: Before the first step.
        gradient_rms: Of each parameter of `Measured.parameters`; None where it has no gradient.
    """

    loss: float
    gradient_rms: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Seeds:
    """Gradients at several initialisations.

    Attributes:
        initialisations: The first is the one that was captured.
        shuffled: How many parameters were drawn anew.
    """

    initialisations: tuple[Initialisation, ...]
    shuffled: int


@dataclass(frozen=True, slots=True)
class Experiments:
    """What a probe's experiments found, but for the gradients.

    Attributes:
        asked: Names of all that were asked for, "gradients" among them, as on the command line.
        skipped: Name -> why it could not be asked of this model.
    """

    asked: tuple[str, ...] = ("gradients",)
    skipped: Mapping[str, str] = field(default_factory=dict)
    initial_loss: InitialLoss | None = None
    overfit: Overfit | None = None
    lr_range: LearningRateRange | None = None
    isolation: Isolation | None = None
    train_eval: TrainEval | None = None
    clip: Clipping | None = None
    input: Inputs | None = None
    seeds: Seeds | None = None


def parse_names(values: Iterable[str]) -> tuple[str, ...]:
    """Read names of experiments, each value one or several with commas between.

    Raises:
        UsageError: One of them is unknown, or a value is empty.
    """
    words = [word.strip() for value in values for word in value.split(",")]
    for word in words:
        check_name(word, NAMES)
    return tuple(dict.fromkeys(words))


def check_name(name: str, known: Iterable[str]) -> None:
    """Raise UsageError with a suggestion for an experiment that is not known."""
    names = list(known)
    if name not in names:
        close = difflib.get_close_matches(name.lower().replace("_", "-"), names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"one of: {', '.join(names)}"
        raise UsageError(f"unknown experiment {name!r}", hint=hint)
