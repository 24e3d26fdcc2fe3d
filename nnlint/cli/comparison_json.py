"""What has changed since an earlier probe, as JSON."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from nnlint.cli.experiment_json import Number
from nnlint.cli.json_object import JsonObject, jsonable
from nnlint.linter.comparison import Comparison, LayerChange, ModelComparison, Noted


class LayerChangeObject(JsonObject):
    """A layer whose gradient has changed by more than three times."""

    layer: str
    before: Number = Field(description="RMS of its gradient at the last step; null for none.")
    after: Number
    factor: Number = Field(description="The new one divided by the old one.")


class FindingChangeObject(JsonObject):
    """A finding that has come or gone; its line and message do not count."""

    rule: str
    code: str
    severity: str
    message: str
    modules: list[str]


class ModelComparisonObject(JsonObject):
    """One model now and then."""

    model: str
    path: str
    settings: dict[str, list[Any]] = Field(
        description="Name -> values of before and now, of what the two probes were made with."
    )
    compared: bool = Field(description="Whether both probes measured gradients.")
    layers: list[LayerChangeObject]
    new_layers: list[str]
    gone_layers: list[str]
    new_findings: list[FindingChangeObject]
    gone_findings: list[FindingChangeObject]


class ComparisonObject(JsonObject):
    """A probe beside an earlier one."""

    baseline: str = Field(description="File of the earlier report.")
    models: list[ModelComparisonObject] = Field(description="Models that are in both.")
    new_models: list[str]
    gone_models: list[str]


def comparison_object(comparison: Comparison) -> ComparisonObject:
    """Return a comparison as the object of the schema."""
    return ComparisonObject(
        baseline=jsonable(comparison.baseline),
        models=[_model(each) for each in comparison.models],
        new_models=jsonable(comparison.new_models),
        gone_models=jsonable(comparison.gone_models),
    )


def _model(model: ModelComparison) -> ModelComparisonObject:
    return ModelComparisonObject(
        model=jsonable(model.model),
        path=jsonable(model.path),
        settings=jsonable(model.settings),
        compared=model.compared,
        layers=[_layer(each) for each in model.layers],
        new_layers=jsonable(model.new_layers),
        gone_layers=jsonable(model.gone_layers),
        new_findings=[_finding(each) for each in model.new_findings],
        gone_findings=[_finding(each) for each in model.gone_findings],
    )


def _layer(change: LayerChange) -> LayerChangeObject:
    return LayerChangeObject(
        layer=jsonable(change.layer),
        before=jsonable(change.before),
        after=jsonable(change.after),
        factor=jsonable(change.factor),
    )


def _finding(finding: Noted) -> FindingChangeObject:
    return FindingChangeObject(
        rule=jsonable(finding.rule),
        code=jsonable(finding.code),
        severity=jsonable(finding.severity),
        message=jsonable(finding.message),
        modules=sorted(jsonable(finding.modules)),
    )
