"""What a probe measured of one model, joined with the places in the source: plain data, no torch.

The probe service fills it; the rules in `linter/rules/probe` judge it. Magnitudes are tuples with
one entry for each measured step; None stands where there was nothing to measure (no gradient
flowed), while NaN and infinity are measured values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from nnlint.linter.experiments import Experiments
from nnlint.linter.findings import Location

Magnitudes = tuple[float | None, ...]
HISTOGRAM_BINS = 64
# For each measured step 64 counts of values by power of two, or () where there are none. The first
# counts what is below 2^-40, the next ones [2^-40, 2^-39) and so on, the last but one what is finite
# and 2^21 or more, the last what is not finite.
Histograms = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Site:
    """Where something stands in the user's code.

    Attributes:
        path: Qualified path of the module in which it happens ("features.3"), "" for the model.
        location: Where a finding belongs.
        call: The line in forward; equals `location` unless the layer sits in a container.
        built: Where the layer was built, if known.
    """

    path: str = ""
    location: Location | None = None
    call: Location | None = None
    built: Location | None = None


@dataclass(frozen=True, slots=True)
class MeasuredNode:
    """One operation.

    Attributes:
        index: Position in execution order.
        operator: Name of the ATen operator, "aten.relu.default".
        site: Where it stands in the source.
        inputs: Positions of the operations whose results it takes.
        parameters: Positions (in `Measured.parameters`) of the parameters that it takes.
        in_loss: Whether it belongs to the loss and not to the model.
        shape: Sizes of its first result, () for a scalar; None where they are not known.
        dtype: Element type of its first result, "" where it is not known.
        grad: False under torch.no_grad().
        activation_rms: Root mean square of its values.
        activation_abs_max: Largest absolute value.
        gradient_rms: Root mean square of the gradient of the loss with respect to its values.
        gradient_abs_max: Largest absolute value of that gradient.
        zero_fraction: Share of exact zeros, for activations.
        activation_histograms: Of the magnitudes of its values; () unless they were asked for.
        gradient_histograms: Likewise of that gradient.
    """

    index: int
    operator: str
    site: Site = Site()
    inputs: tuple[int, ...] = ()
    parameters: tuple[int, ...] = ()
    in_loss: bool = False
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    grad: bool = True
    activation_rms: Magnitudes = ()
    activation_abs_max: Magnitudes = ()
    gradient_rms: Magnitudes = ()
    gradient_abs_max: Magnitudes = ()
    zero_fraction: Magnitudes = ()
    activation_histograms: Histograms = ()
    gradient_histograms: Histograms = ()


@dataclass(frozen=True, slots=True)
class MeasuredParameter:
    """One trainable parameter.

    Attributes:
        name: Qualified name ("features.3.weight"); a tied parameter has its first name.
        shape: Sizes.
        site: The layer that owns it.
        rms: Root mean square of its values before each step.
        gradient_rms: Of its gradient; None where grad is None.
        gradient_abs_max: Largest absolute value of its gradient.
        update_ratio: RMS of the optimiser's change divided by `rms`.
        nodes: Positions of the operations that take it.
        histograms: Of the magnitudes of its values before each step; () unless they were asked for.
        gradient_histograms: Likewise of its gradient.
    """

    name: str
    shape: tuple[int, ...]
    site: Site = Site()
    rms: Magnitudes = ()
    gradient_rms: Magnitudes = ()
    gradient_abs_max: Magnitudes = ()
    update_ratio: Magnitudes = ()
    nodes: tuple[int, ...] = ()
    histograms: Histograms = ()
    gradient_histograms: Histograms = ()

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Operand:
    """What an operation took or gave where a value stopped being finite.

    Attributes:
        name: For people: "input", "fc1.weight", "the gradient of its output".
        minimum: Over its finite values.
        maximum: Over its finite values.
        non_finite: How many values were not finite.
        result: Whether it is the operation's result and not an argument.
    """

    name: str
    minimum: float
    maximum: float
    non_finite: int
    result: bool = False
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class NonFinite:
    """The first operation whose result was not finite.

    Attributes:
        phase: "forward", "backward", "input" (the data or a parameter was not finite before the
            first operation), or "step" (the optimiser made a parameter non-finite).
        node: The operation, None for "input" and "step".
        parameter: Position of the parameter whose gradient or value it is, if it is one's.
        input: Name of the input where it is one, else "".
    """

    step: int
    phase: Literal["forward", "backward", "input", "step"]
    node: int | None
    nans: int
    infinities: int
    elements: int
    operands: tuple[Operand, ...] = ()
    parameter: int | None = None
    input: str = ""


@dataclass(frozen=True, slots=True)
class Units:
    """How the units of one activation behaved over all samples.

    Attributes:
        node: Position of the activation.
        count: Number of units (channels or features).
        samples: Samples that were seen.
        dead: Positions of units that never fired; None where the activation cannot be dead.
        saturated: Positions of units that were always in their flat region; None where it has none.
    """

    node: int
    count: int
    samples: int
    dead: tuple[int, ...] | None = None
    saturated: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One probe of one model.

    Attributes:
        model: Display name of the model.
        location: Line of the class, factory or instance.
        batch_size: Samples in one step.
        losses: The loss before each step.
        nodes: Every operation in execution order, also those that were not observed.
        loss: For people, what was differentiated: "cross_entropy at train.py:30".
        loss_known: False where no loss was found and a stand-in was differentiated.
        data: "user" for the user's batch, "random" for drawn inputs and labels.
        learning_rate: Of the optimiser that made the steps.
        optimizer: "sgd" or "adamw".
        optimizer_given: Whether the user named the optimiser and its learning rate.
        device: For people: "CPU, 2 threads".
        precision: "float32", "bfloat16", "autocast".
        outputs: Positions of the operations whose results the model returns.
        experiments: What was asked for, and what experiments other than the gradients found.
    """

    model: str
    location: Location
    batch_size: int
    losses: tuple[float, ...]
    nodes: tuple[MeasuredNode, ...]
    parameters: tuple[MeasuredParameter, ...]
    non_finite: tuple[NonFinite, ...] = ()
    units: tuple[Units, ...] = ()
    loss: str = ""
    loss_known: bool = True
    data: Literal["user", "random"] = "random"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.0
    optimizer_given: bool = False
    device: str = "cpu"
    precision: str = "float32"
    outputs: tuple[int, ...] = ()
    experiments: Experiments = field(default_factory=Experiments)

    @property
    def steps(self) -> int:
        """Number of optimiser steps that were measured."""
        return len(self.losses)

    def users(self, node: MeasuredNode) -> Iterator[MeasuredNode]:
        """Yield the operations that take a node's result, in order."""
        return (other for other in self.nodes if node.index in other.inputs)
