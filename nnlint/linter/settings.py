"""The settings of one lint run as plain data: light to import, and it crosses to the worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# The table of pyproject.toml that holds them.
TABLE = "tool.nnlint"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a model: a shape such as (2, 3, 224, 224) and a torch dtype name.

    Attributes:
        name: Keyword under which it is passed, "" for a positional input.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    name: str = ""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What the user says about one model.

    Attributes:
        args: Positional constructor (or factory) arguments.
        kwargs: Keyword constructor arguments.
        inputs: Inputs of forward, None to infer them.
        loss: Name of the loss that its output meets, e.g. "cross_entropy" or
            "torch.nn.CrossEntropyLoss"; "" to find it in the source.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[InputSpec, ...] | None = None
    loss: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-compatible data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelSettings:
        """Read what `to_dict` wrote (also after a round trip through JSON)."""
        inputs = data["inputs"]
        if inputs is not None:
            inputs = tuple(InputSpec(tuple(i["shape"]), i["dtype"], i["name"]) for i in inputs)
        return cls(tuple(data["args"]), dict(data["kwargs"]), inputs, data["loss"])


@dataclass(frozen=True, slots=True)
class LintSettings:
    """The settings of one run.

    Attributes:
        select: Rule names, codes or code prefixes ("NNL1") to run; empty for the default set.
        ignore: Rule names, codes or prefixes to leave out.
        per_file_ignores: Glob pattern of paths -> rules to leave out there.
        models: "path.py:Name" (path relative to `root`) -> settings of that model.
        default_model: Settings from the command line, for every model that is linted.
        timeout: Seconds that loading and analysing one file may take.
        memory_bytes: Memory that the worker may allocate for one file.
        root: Directory of the configuration file, "" for the current directory.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    default_model: ModelSettings | None = None
    timeout: float = 60.0
    memory_bytes: int = 8 * 1024**3
    root: str = ""


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """What a run shows, and what makes it fail.

    Attributes:
        show: Lowest severity that is printed.
        fail_on: Lowest severity that gives exit code 1, or "never".
        output_format: "FORMAT" or "FORMAT:FILE", one or several.
        exclude: Globs of paths that are left out of folders.
    """

    show: Literal["error", "warning", "note"] = "note"
    fail_on: Literal["error", "warning", "note", "never"] = "warning"
    output_format: tuple[str, ...] = ("text",)
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """What is said about probes; None and "" leave the default to the probe service.

    Attributes:
        server: "host:port" or "unix:PATH"; "" for a server of nnlint's own.
        token_file: File with the token of the server.
        tls: Whether to encrypt with the system's authorities.
        tls_ca: File with the authorities that sign the server's certificate.
        tls_cert: File with the client's certificate.
        tls_key: File with its key.
        data: File or "module.py:loader" that gives inputs and labels; "" to draw them.
        steps: Optimiser steps, each measured.
        samples: Samples over which the activity of units is judged.
        batch_size: Samples in a step.
        optimizer: Which optimiser makes the steps.
        lr: Its learning rate.
        momentum: Of SGD.
        weight_decay: Of the optimiser.
        device: Where to run.
        precision: Of the model's arithmetic.
        seed: For drawn data and dropout.
        seconds: Limit of the run itself.
        fit_batch: Whether to halve the batch where memory runs out.
        deterministic: Whether algorithms must be deterministic.
        experiment: Names of what is done ("lr-range"), each possibly several with commas.
        all: Whether all experiments are made that the model allows.
        histograms: Whether values are counted by magnitude.
        overfit_steps: Most steps by which samples are learned by heart.
        lr_start: First learning rate of the range test.
        lr_end: Last one.
        lr_steps: How many.
        lr_linear: Whether they have equal differences, not equal factors.
        max_norm: Largest norm of all gradients together, where they are clipped.
        clip_steps: Steps without and with clipping.
        seeds: Initialisations beside the first one.
        baseline: JSON report of an earlier probe to compare with.
        html: File for the report as a page.
        tensorboard: Folder for what TensorBoard shows.
    """

    server: str = ""
    token_file: str = ""
    tls: bool | None = None
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    data: str = ""
    steps: int | None = None
    samples: int | None = None
    batch_size: int | None = None
    optimizer: Literal["sgd", "adamw"] | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    device: Literal["auto", "cpu", "cuda"] | None = None
    precision: Literal["float32", "bfloat16", "autocast", "autocast-float16"] | None = None
    seed: int | None = None
    seconds: float | None = None
    fit_batch: bool | None = None
    deterministic: bool | None = None
    experiment: tuple[str, ...] = ()
    all: bool | None = None
    histograms: bool | None = None
    overfit_steps: int | None = None
    lr_start: float | None = None
    lr_end: float | None = None
    lr_steps: int | None = None
    lr_linear: bool | None = None
    max_norm: float | None = None
    clip_steps: int | None = None
    seeds: int | None = None
    baseline: str = ""
    html: str = ""
    tensorboard: str = ""
