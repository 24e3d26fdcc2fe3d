"""What experiments found, as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from pydantic import Field

from nnlint.cli.json_object import JsonObject, jsonable
from nnlint.linter import experiments as found
from nnlint.linter.measured import Measured

# A measured number: null where there is none, text where it is not finite.
Number = float | Literal["nan", "inf", "-inf"] | None
Kind = TypeVar("Kind")
Object = TypeVar("Object", bound=JsonObject)


class InitialLossObject(JsonObject):
    """The loss before the first step, and what theory expects."""

    losses: list[Number] = Field(description="Of each batch.")
    expected: Number = Field(description="What a model that knows nothing has; null if unknown.")
    theory: str = Field(description='Where that comes from: "ln 10".')
    prior: Number = Field(description="Entropy of the labels that were seen.")
    classes: int = Field(description="Number of classes, 0 where there are none.")
    doubled: Number = Field(
        description="Loss of the batch taken twice, divided by that of the batch: 2 for a sum."
    )
    reason: str | None = Field(description="Why `expected` is null.")


class AttemptObject(JsonObject):
    """Steps with one optimiser."""

    learning_rate: Number
    losses: list[Number] = Field(description="Before each step.")
    reached: bool = Field(description="Whether the loss came near its floor.")


class OverfitObject(JsonObject):
    """Whether a few samples could be learned by heart."""

    samples: int
    reached: bool = Field(description="Whether an attempt came near the floor.")
    floor: Number = Field(description="What the loss cannot fall below.")
    steps: int = Field(description="Most steps of an attempt.")
    attempts: list[AttemptObject]


class LrRangeObject(JsonObject):
    """The loss under a growing learning rate; lists have a value for each step."""

    learning_rates: list[Number]
    losses: list[Number]
    smoothed: list[Number] = Field(description="Moving average of the losses.")
    steepest: Number = Field(description="Rate at which the average falls fastest.")
    valley: Number = Field(description="Rate in the middle of the longest descent.")
    diverged: Number = Field(description="Rate at which the loss diverged; null if it did not.")
    linear: bool = Field(description="Whether rates have equal differences, not equal factors.")


class LeakObject(JsonObject):
    """An output that changes with another sample's input."""

    output: int = Field(description="Position among the model's outputs.")
    samples: int = Field(description="Samples whose output changed.")
    change: Number = Field(description="Largest change by the output's RMS.")
    operation: int | None = Field(description="Index of the first one that mixed samples.")


class IsolationObject(JsonObject):
    """Whether samples of a batch are independent of each other."""

    compared: int = Field(description="How many outputs were compared.")
    leaks: list[LeakObject]
    batch_statistics: bool = Field(
        description="Whether batch norm without running statistics takes part."
    )


class TrainEvalObject(JsonObject):
    """The loss of one batch in both modes, with different random streams."""

    train_losses: list[Number]
    eval_losses: list[Number]


class ClipObject(JsonObject):
    """The same steps without and with clipped gradients; a value for each step."""

    max_norm: Number
    losses: list[Number] = Field(description="Without clipping.")
    clipped_losses: list[Number] = Field(description="With clipping.")
    norms: list[Number] = Field(description="L2 norm of all gradients, without clipping.")
    clipped_norms: list[Number] = Field(description="With clipping, before they were clipped.")


class InputTensorObject(JsonObject):
    """One input or target."""

    name: str
    target: bool = Field(description="Whether it is what the loss compares with.")
    shape: list[int]
    dtype: str
    mean: Number = Field(description="Over the finite values of all batches, as the next three.")
    standard_deviation: Number
    minimum: Number
    maximum: Number
    elements: int
    nans: int
    infinities: int
    repeated_samples: int = Field(description="Samples that are equal to another one.")
    labels: dict[str, int] = Field(description="How often each integer occurs.")


class InputObject(JsonObject):
    """What the data look like."""

    samples: int
    tensors: list[InputTensorObject]


class InitialisationObject(JsonObject):
    """One initialisation."""

    loss: Number
    gradient_rms: list[Number] = Field(description="For each of `parameters`.")


class SeedsObject(JsonObject):
    """Gradients at several initialisations, the first being that of the model."""

    initialisations: list[InitialisationObject]
    shuffled: int = Field(description="How many parameters were drawn anew.")


class ExperimentsObject(JsonObject):
    """What was asked for beside gradients; null where it was not, or has no result."""

    asked: list[str] = Field(description='Names as on the command line, "gradients" among them.')
    skipped: dict[str, str] = Field(description="Name -> why the model could not be asked.")
    initial_loss: InitialLossObject | None
    overfit: OverfitObject | None
    lr_range: LrRangeObject | None
    isolation: IsolationObject | None
    train_eval: TrainEvalObject | None
    clip: ClipObject | None
    input: InputObject | None
    seeds: SeedsObject | None


def experiments_object(measured: Measured) -> ExperimentsObject:
    """Return the experiments of a probe as the object of the schema."""
    mine = measured.experiments
    return ExperimentsObject(
        asked=list(mine.asked),
        skipped=jsonable(mine.skipped),
        initial_loss=_maybe(_initial_loss, mine.initial_loss),
        overfit=_maybe(_overfit, mine.overfit),
        lr_range=_maybe(lambda each: _plain(LrRangeObject, each), mine.lr_range),
        isolation=_maybe(_isolation, mine.isolation),
        train_eval=_maybe(lambda each: _plain(TrainEvalObject, each), mine.train_eval),
        clip=_maybe(lambda each: _plain(ClipObject, each), mine.clip),
        input=_maybe(_input, mine.input),
        seeds=_maybe(_seeds, mine.seeds),
    )


def _maybe(make: Callable[[Kind], Object], value: Kind | None) -> Object | None:
    return None if value is None else make(value)


def _plain(kind: type[Object], value: Any, **others: Any) -> Object:
    """Return an object with the fields of the same names, but for those that are given."""
    names = kind.model_fields.keys() - others.keys()
    return kind(**{name: jsonable(getattr(value, name)) for name in names}, **others)


def _initial_loss(value: found.InitialLoss) -> InitialLossObject:
    return _plain(InitialLossObject, value, reason=jsonable(value.reason) or None)


def _overfit(value: found.Overfit) -> OverfitObject:
    attempts = [_plain(AttemptObject, each) for each in value.attempts]
    return _plain(OverfitObject, value, attempts=attempts)


def _isolation(value: found.Isolation) -> IsolationObject:
    leaks = [_plain(LeakObject, each, operation=each.node) for each in value.leaks]
    return _plain(IsolationObject, value, leaks=leaks)


def _input(value: found.Inputs) -> InputObject:
    tensors = [_plain(InputTensorObject, each) for each in value.tensors]
    return InputObject(samples=value.samples, tensors=tensors)


def _seeds(value: found.Seeds) -> SeedsObject:
    states = [_plain(InitialisationObject, each) for each in value.initialisations]
    return _plain(SeedsObject, value, initialisations=states)
