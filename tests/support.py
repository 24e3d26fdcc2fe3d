"""Lint a piece of source in this process: what the worker does, without its walls."""

from __future__ import annotations

import types
import warnings
from collections.abc import Mapping, Sequence

from nnlint.linter import engine
from nnlint.linter.discover import discover
from nnlint.linter.discover.source import Source
from nnlint.linter.findings import Check, Finding
from nnlint.linter.load import built, devices, unwritten
from nnlint.linter.load.build import NotBuildableError, build
from nnlint.linter.load.initialised import Recorder
from nnlint.linter.rules.base import Rule, all_rules
from nnlint.linter.settings import ModelSettings
from nnlint.linter.trace.positions import UserCode

type_of_rules = Sequence[type[Rule]]


def lint_text(
    text: str,
    *,
    path: str = "model.py",
    settings: ModelSettings | None = None,
    models: Mapping[str, ModelSettings] | None = None,
    rules: type_of_rules | None = None,
) -> tuple[list[Finding], list[Check]]:
    """Run the rules over every model of a source text.

    Models that lack constructor arguments are left out.
    """
    source = Source.parse(path, text)
    code = UserCode(path, text, "")
    module = types.ModuleType("linted_model")
    module.__file__ = path
    findings: list[Finding] = []
    checks: list[Check] = []
    recorder = Recorder(code)
    with (
        warnings.catch_warnings(),
        devices.on_cpu(),
        built.recording(code),
        unwritten.marking(),
    ):
        warnings.simplefilter("ignore")
        with recorder:
            exec(compile(text, path, "exec"), module.__dict__)  # noqa: S102 - a fixture of ours
        for target in discover(source):
            chosen = (models or {}).get(target.name, settings or ModelSettings())
            try:
                with recorder:
                    model = build(module, target, chosen)
            except NotBuildableError:
                continue
            recorder.attach(model)
            result = engine.analyse(
                model,
                target=target,
                source=source,
                settings=chosen,
                rules=all_rules() if rules is None else rules,
                code=code,
                built_at=built.built_at,
            )
            findings += result.findings
            checks += result.checks
    return findings, checks
