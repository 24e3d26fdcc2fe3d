"""Lint a file from Python."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from nnlint.linter.findings import Report
from nnlint.linter.settings import InputSpec, ModelSettings


def lint_file(
    path: str | os.PathLike[str],
    *,
    inputs: Sequence[Sequence[int]] | None = None,
    loss: str = "",
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Report:
    """Lint every model of a file as `nnlint FILE` does and return the report.

    The file runs in a process of its own with limits on time and memory, never in this one. The
    nearest pyproject.toml counts, and so do suppression comments.

    Args:
        path: A file, "file.py:Name" for one of its models, or a folder.
        inputs: Shapes of forward's inputs, None to infer them.
        loss: Name of the loss, "" to find it in the source.
        select: Names, codes or prefixes of the rules to run; what the configuration says without.
        ignore: Names, codes or prefixes of rules to leave out, beside the configuration's.

    Raises:
        UsageError: The path does not exist or holds no model.
        ConfigError: The configuration file is wrong.
    """
    from nnlint.linter.check import lint_paths
    from nnlint.linter.config import load_config
    from nnlint.linter.load.files import read_text
    from nnlint.linter.selection import resolve_for_lint
    from nnlint.linter.suppress import apply_to_run

    name = os.fspath(path)
    start = Path(name if Path(name).exists() else name.rpartition(":")[0] or name)
    settings = load_config(start).settings
    if inputs is not None or loss:
        specs = None if inputs is None else tuple(InputSpec(tuple(shape)) for shape in inputs)
        settings = dataclasses.replace(
            settings, default_model=ModelSettings(inputs=specs, loss=loss)
        )
    rules = resolve_for_lint(tuple(select) or settings.select, (*settings.ignore, *ignore))
    report = lint_paths([name], settings, rules=rules)
    texts = dict(report.sources)
    for known in {model.path for model in report.models} - texts.keys():
        with contextlib.suppress(OSError, SyntaxError):
            texts[known] = read_text(known)
    return apply_to_run(report, texts, rules, settings)
