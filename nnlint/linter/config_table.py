"""The [tool.nnlint] table itself: its keys, checked with pydantic, and its JSON schema."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from nnlint.errors import ConfigError, UsageError
from nnlint.linter.experiments import parse_names
from nnlint.linter.selection import check_selectors
from nnlint.linter.settings import (
    TABLE,
    InputSpec,
    LintSettings,
    ModelSettings,
    OutputSettings,
    ProbeSettings,
)
from nnlint.linter.values import make_input, parse_input, parse_loss, parse_size

_RUN = LintSettings()
_OUTPUT = OutputSettings()

_INPUT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "examples": ["2x3x224x224", "2x128:int64"]},
        {
            "type": "object",
            "properties": {
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                "dtype": {"type": "string", "default": "float32"},
            },
            "required": ["shape"],
            "additionalProperties": False,
        },
    ]
}
_INPUTS_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "array", "items": _INPUT_SCHEMA},
        {"type": "object", "additionalProperties": _INPUT_SCHEMA},
    ],
    "description": "Inputs of forward: a list, or a table of keyword inputs.",
}
_FORMAT_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
}
_MEMORY_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "string"}, {"type": "integer", "minimum": 1}],
    "default": "8GB",
    "description": "Memory that one file may take, such as '8GB'.",
}


def _rules(selectors: list[str]) -> list[str]:
    check_selectors(selectors)
    return selectors


def _inputs(value: Any) -> tuple[InputSpec, ...] | None:
    if value is None or (isinstance(value, tuple) and not value):
        return None
    if isinstance(value, dict) and "shape" not in value:
        return tuple(_input(entry, name) for name, entry in value.items())
    if isinstance(value, list):
        return tuple(_input(entry) for entry in value)
    raise UsageError("must be a list of inputs, or a table of named ones", hint='["2x3x224x224"]')


def _input(value: Any, name: str = "") -> InputSpec:
    if isinstance(value, str):
        spec = parse_input(value)
        return InputSpec(spec.shape, spec.dtype, name or spec.name)
    if not isinstance(value, dict) or "shape" not in value:
        raise UsageError(f"{value!r} is no input", hint='"2x128:int64" or {shape = [2, 128]}')
    if unknown := sorted(value.keys() - {"shape", "dtype"}):
        raise UsageError(f"unknown key {unknown[0]!r} of an input", hint="shape and dtype")
    shape, dtype = value["shape"], value.get("dtype", "float32")
    sizes = shape if isinstance(shape, list) else [shape]
    if not all(isinstance(size, int) and not isinstance(size, bool) for size in sizes):
        raise UsageError(f"the shape {shape!r} is no list of integers")
    if not isinstance(dtype, str):
        raise UsageError(f"the dtype {dtype!r} is no string")
    return make_input(sizes, dtype, name)


def _model_key(models: dict[str, Any]) -> dict[str, Any]:
    for key in models:
        path, _, name = key.rpartition(":")
        if not path or not name.isidentifier():
            raise UsageError(f"{key!r} names no model", hint='[tool.nnlint.models."path.py:Name"]')
    return models


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UsageError(f"{value!r} is no amount of memory", hint="such as 8GB or 512MB")
    return parse_size(value)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _experiments(names: list[str]) -> list[str]:
    return list(parse_names(names))


def _kebab(name: str) -> str:
    return name.replace("_", "-")


RuleList = Annotated[list[str], AfterValidator(_rules)]


class _Table(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        extra="forbid", alias_generator=_kebab, frozen=True, arbitrary_types_allowed=True
    )


class ModelTable(_Table):
    """What the user says about one model."""

    args: list[Any] = Field(default=[], description="Positional constructor arguments.")
    kwargs: dict[str, Any] = Field(default={}, description="Keyword constructor arguments.")
    inputs: Annotated[
        tuple[InputSpec, ...] | None, BeforeValidator(_inputs), WithJsonSchema(_INPUTS_SCHEMA)
    ] = None
    loss: Annotated[str, AfterValidator(lambda text: parse_loss(text) if text else "")] = Field(
        default="", description="Loss that the output meets, such as 'cross_entropy'."
    )

    def to_settings(self) -> ModelSettings:
        """Return the table as settings."""
        return ModelSettings(tuple(self.args), self.kwargs, self.inputs, self.loss)


_Count = Annotated[int, Field(ge=1, strict=True)]
_Rate = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
# Files that are named relative to the folder of the configuration file.
_FILES = ("token_file", "tls_ca", "tls_cert", "tls_key", "data", "baseline", "html", "tensorboard")


class ProbeTable(_Table):
    """What `nnlint probe` does where its options do not say; null leaves it to the default."""

    server: str = Field(default="", description="host:port or unix:PATH; a server of its own.")
    token_file: str = Field(default="", description="File with the token of the server.")
    tls: bool | None = Field(default=None, description="Encrypt with the system's authorities.")
    tls_ca: str = Field(default="", description="File with the server's authorities.")
    tls_cert: str = Field(default="", description="File with the client's certificate.")
    tls_key: str = Field(default="", description="File with its key.")
    data: str = Field(default="", description="FILE.npz, FILE.safetensors or FILE.py:LOADER.")
    steps: _Count | None = Field(default=None, description="Optimiser steps.")
    samples: Annotated[int, Field(ge=0, strict=True)] | None = Field(
        default=None, description="Samples over which the activity of units is judged."
    )
    batch_size: _Count | None = Field(default=None, description="Samples in a step.")
    optimizer: Literal["sgd", "adamw"] | None = None
    lr: _Rate | None = Field(default=None, description="Learning rate of the optimiser.")
    momentum: _Rate | None = Field(default=None, description="Of SGD.")
    weight_decay: _Rate | None = None
    device: Literal["auto", "cpu", "cuda"] | None = None
    precision: Literal["float32", "bfloat16", "autocast", "autocast-float16"] | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 63, strict=True)] | None = None
    seconds: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] | None = Field(
        default=None, description="Limit of the run itself."
    )
    fit_batch: bool | None = Field(default=None, description="Halve the batch without memory.")
    deterministic: bool | None = None
    experiment: (
        Annotated[
            list[str],
            BeforeValidator(_as_list),
            AfterValidator(_experiments),
            WithJsonSchema(_FORMAT_SCHEMA),
        ]
        | None
    ) = Field(default=None, description="What is done, such as 'lr-range'.")
    all: bool | None = Field(default=None, description="Do all that the model allows.")
    histograms: bool | None = Field(default=None, description="Count values by magnitude.")
    overfit_steps: _Count | None = Field(
        default=None, description="Most steps by which samples are learned by heart."
    )
    lr_start: _Positive | None = Field(default=None, description="First rate of the range test.")
    lr_end: _Positive | None = Field(default=None, description="Last rate of the range test.")
    lr_steps: Annotated[int, Field(ge=2, strict=True)] | None = Field(
        default=None, description="Rates of the range test."
    )
    lr_linear: bool | None = Field(default=None, description="Equal differences between them.")
    max_norm: _Positive | None = Field(default=None, description="Largest norm where clipped.")
    clip_steps: _Count | None = Field(default=None, description="Steps without and with clipping.")
    seeds: _Count | None = Field(default=None, description="Further initialisations.")
    baseline: str = Field(default="", description="JSON report of an earlier probe.")
    html: str = Field(default="", description="File for the report as a page.")
    tensorboard: str = Field(default="", description="Folder for what TensorBoard shows.")

    def to_settings(self, root: str) -> ProbeSettings:
        """Return the table as settings, its files below `root`."""
        values = self.model_dump()
        values["experiment"] = tuple(self.experiment or ())
        for name in _FILES:
            if values[name]:
                values[name] = str(Path(root, values[name]))
        return ProbeSettings(**values)


class ConfigTable(_Table):
    """The settings of nnlint, from [tool.nnlint] of a pyproject.toml."""

    select: RuleList = Field(
        default=[],
        description="Rules to run: names, codes, code prefixes or ALL; empty for the default set.",
    )
    ignore: RuleList = Field(default=[], description="Rules to leave out.")
    per_file_ignores: dict[str, RuleList] = Field(
        default={}, description="Glob of paths -> rules to leave out there."
    )
    fail_on: Literal["error", "warning", "note", "never"] = Field(
        default=_OUTPUT.fail_on, description="Lowest severity that gives exit code 1."
    )
    show: Literal["error", "warning", "note"] = Field(
        default=_OUTPUT.show, description="Lowest severity that is printed."
    )
    output_format: Annotated[
        list[str], BeforeValidator(_as_list), WithJsonSchema(_FORMAT_SCHEMA)
    ] = Field(
        default=list(_OUTPUT.output_format), description="FORMAT or FORMAT:FILE, one or several."
    )
    timeout: float = Field(
        default=_RUN.timeout, gt=0, strict=True, description="Seconds that one file may take."
    )
    memory_limit: Annotated[int, BeforeValidator(_size), WithJsonSchema(_MEMORY_SCHEMA)] = (
        _RUN.memory_bytes
    )
    exclude: list[str] = Field(
        default=[], description="Globs of paths that are left out of folders."
    )
    models: Annotated[dict[str, ModelTable], AfterValidator(_model_key)] = Field(
        default={}, description="'path.py:Name' -> what to know about that model."
    )
    probe: ProbeTable = Field(default=ProbeTable(), description="What `nnlint probe` does.")

    def to_settings(self, root: str) -> LintSettings:
        """Return the table as the settings of a run; `root` is the folder of its file."""
        return LintSettings(
            select=tuple(self.select),
            ignore=tuple(self.ignore),
            per_file_ignores={key: tuple(value) for key, value in self.per_file_ignores.items()},
            models={key: model.to_settings() for key, model in self.models.items()},
            timeout=self.timeout,
            memory_bytes=self.memory_limit,
            root=root,
        )

    def to_output(self) -> OutputSettings:
        """Return what the table says about output."""
        return OutputSettings(
            show=self.show,
            fail_on=self.fail_on,
            output_format=tuple(self.output_format),
            exclude=tuple(self.exclude),
        )


def read_table(data: Mapping[str, Any], origin: str) -> ConfigTable:
    """Check the values of a [tool.nnlint] table; `origin` names the file in errors."""
    try:
        return ConfigTable.model_validate(data)
    except pydantic.ValidationError as error:
        raise _explain(error, origin) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the [tool.nnlint] table."""
    schema = ConfigTable.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _explain(error: pydantic.ValidationError, origin: str) -> ConfigError:
    problems = error.errors(include_url=False)
    messages = [f"{origin}: {_key(problem['loc'])}: {_reason(problem)}" for problem in problems]
    hints = [hint for problem in problems if (hint := _hint(problem))]
    return ConfigError("\n".join(messages), hint=hints[0] if len(problems) == 1 and hints else "")


def _key(loc: Iterable[int | str]) -> str:
    key = TABLE
    for part in loc:
        if isinstance(part, int):
            key += f"[{part}]"
        elif re.fullmatch(r"[\w-]+", part):
            key += f".{part}"
        else:
            key += f'."{part}"'
    return key


def _reason(problem: Any) -> str:
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, UsageError):
        return str(cause)
    if problem["type"] == "extra_forbidden":
        return "unknown key"
    message = str(problem["msg"])
    return f"{message[:1].lower()}{message[1:]}, not {problem['input']!r}"


def _hint(problem: Any) -> str:
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, UsageError):
        return cause.hint
    if problem["type"] != "extra_forbidden":
        return ""
    loc = problem["loc"]
    tables: dict[str, type[_Table]] = {"models": ModelTable, "probe": ProbeTable}
    table = tables.get(str(loc[0]), ConfigTable) if len(loc) > 1 else ConfigTable
    known = [_kebab(name) for name in table.model_fields]
    close = difflib.get_close_matches(str(loc[-1]).replace("_", "-"), known, 1)
    return f"did you mean {close[0]!r}?" if close else f"one of: {', '.join(known)}"
