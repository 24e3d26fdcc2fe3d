"""What `nnlint check` does: settings from options and file, the run, the output, the exit code."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnlint.cli.console import (
    encodes,
    terminal_width,
    wants_color,
    write_stdout,
)
from nnlint.cli.formats import Destination, RenderOptions, load_format, parse_destinations
from nnlint.cli.progress import Progress
from nnlint.cli.wording import did_you_mean
from nnlint.errors import NoModelError, UsageError
from nnlint.linter.findings import Report, Severity
from nnlint.linter.settings import InputSpec, LintSettings, ModelSettings

if TYPE_CHECKING:
    from nnlint.linter.config import Config
    from nnlint.linter.load.pool import Pool

STDIN = "-"
STDIN_NAME = "<stdin>"


def check(paths: Sequence[str], **options: Any) -> int:
    """Run `nnlint check` and return the exit code."""
    check_paths(paths, options["stdin_filename"])
    default_model = model_settings(options["arguments"], options["inputs"], options["loss"])
    destinations = parse_destinations(options["formats"])
    with contextlib.ExitStack() as stack:
        from nnlint.linter.load.pool import Pool

        # Importing torch takes the worker seconds; reading the configuration meanwhile is free.
        pool = stack.enter_context(Pool())
        pool.start()
        config = find_configuration(paths, options)
        settings = merge(config, options, default_model)
        destinations = destinations or parse_destinations(config.output.output_format)
        try:
            report = _lint(without_excluded(paths, config), settings, options, pool)
        except NoModelError:
            if not options["allow_no_models"]:
                raise
            report = Report()
    return deliver(report, destinations, config, options)


def check_paths(paths: Sequence[str], stdin_filename: str, *, command: str = "nnlint") -> None:
    """Raise UsageError for paths that are missing, before anything is started."""
    if not paths:
        raise UsageError("no path is given", hint=f"{command} model.py")
    if stdin_filename and STDIN not in paths:
        raise UsageError("--stdin-filename goes with the path `-`")
    for path in paths:
        if path != STDIN and not Path(path).exists() and not Path(_file_part(path)).exists():
            raise UsageError(f"no such file or folder: {path}", hint=_path_hint(path))


def _file_part(path: str) -> str:
    file, separator, name = path.rpartition(":")
    named = separator and all(part.isidentifier() for part in name.split("."))
    return file if named else path


def _path_hint(path: str) -> str:
    from nnlint.cli.entry import command_names

    folder = Path(path).parent
    if folder.is_dir():
        siblings = {entry.name: entry for entry in folder.iterdir()}
        if hint := did_you_mean(Path(path).name, siblings):
            return hint
    hint = did_you_mean(path, command_names())
    return hint.replace("mean ", "mean the command ") if hint else ""


def model_settings(
    arguments: Sequence[str], inputs: Sequence[str], loss: str
) -> ModelSettings | None:
    """Return what `--arg`, `--input` and `--loss` say, None when none of them is given."""
    if not arguments and not inputs and not loss:
        return None
    from nnlint.linter.values import parse_argument, parse_input, parse_loss

    pairs = [parse_argument(text) for text in arguments]
    specs: tuple[InputSpec, ...] | None = tuple(_each(parse_input, "--input", inputs)) or None
    return ModelSettings(
        args=tuple(value for name, value in pairs if not name),
        kwargs={name: value for name, value in pairs if name},
        inputs=specs,
        loss=next(iter(_each(parse_loss, "--loss", [loss] if loss else [])), ""),
    )


def _each(parse: Any, option: str, values: Sequence[str]) -> list[Any]:
    try:
        return [parse(value) for value in values]
    except UsageError as error:
        raise UsageError(f"{option}: {error}", hint=error.hint) from None


def find_configuration(paths: Sequence[str], options: Mapping[str, Any]) -> Config:
    """Read the configuration file that holds for the first path."""
    from nnlint.linter.config import load_config

    if options["isolated"] and options["config_file"]:
        raise UsageError("--config and --isolated exclude each other")
    first = options["stdin_filename"] if paths[0] == STDIN else _file_part(paths[0])
    chosen = Path(options["config_file"]) if options["config_file"] else None
    return load_config(Path(first or "."), path=chosen, isolated=options["isolated"])


def merge(
    config: Config, options: Mapping[str, Any], default_model: ModelSettings | None
) -> LintSettings:
    """Return the settings of the run: the command line wins over the file.

    `--select` replaces the file's selection, its `ignore` included; `--ignore` alone adds to it.
    """
    from nnlint.linter.selection import split_selectors

    settings = config.settings
    select, ignore = split_selectors(options["select"]), split_selectors(options["ignore"])
    if options["memory_limit"]:
        from nnlint.linter.values import parse_size

        memory_bytes = _each(parse_size, "--memory-limit", [options["memory_limit"]])[0]
    else:
        memory_bytes = settings.memory_bytes
    return dataclasses.replace(
        settings,
        select=select or settings.select,
        ignore=ignore if select else (*settings.ignore, *ignore),
        default_model=default_model,
        timeout=options["timeout"] or settings.timeout,
        memory_bytes=memory_bytes,
    )


def _lint(
    paths: Sequence[str],
    settings: LintSettings,
    options: Mapping[str, Any],
    pool: Pool,
) -> Report:
    from nnlint.linter.check import lint_paths
    from nnlint.linter.selection import resolve_for_lint
    from nnlint.linter.suppress import apply_to_run

    rules = resolve_for_lint(settings.select, settings.ignore)
    stdin_text = read_stdin() if STDIN in paths else None
    with Progress(enabled=not options["quiet"]) as progress:
        report = lint_paths(
            paths,
            settings,
            rules=rules,
            stdin_text=stdin_text,
            stdin_filename=options["stdin_filename"],
            pool=pool,
            progress=progress,
        )
    known = {} if stdin_text is None else {options["stdin_filename"] or STDIN_NAME: stdin_text}
    return apply_to_run(report, texts_of(report, known), rules, settings)


def texts_of(report: Report, known: Mapping[str, str]) -> dict[str, str]:
    """Return the text of every file that was linted."""
    from nnlint.linter.load.files import read_text

    # The report has the code of a notebook, where standard input held its JSON.
    texts = {**known, **report.sources}
    for path in {model.path for model in report.models} - texts.keys():
        with contextlib.suppress(OSError, SyntaxError):
            texts[path] = read_text(path)
    return texts


def without_excluded(paths: Sequence[str], config: Config) -> list[str]:
    """Return the paths with folders replaced by those of their files that are not excluded."""
    patterns = config.output.exclude
    if not patterns:
        return list(paths)
    from nnlint.linter.load.files import find_files
    from nnlint.linter.selection import path_matches

    kept: list[str] = []
    for path in paths:
        if not Path(path).is_dir():
            kept.append(path)
            continue
        kept += (
            file.path
            for file in find_files([path])
            if not any(
                path_matches(pattern, file.path, config.settings.root) for pattern in patterns
            )
        )
    if not kept:
        raise UsageError(f"`exclude` of {config.path} leaves out every file")
    return kept


def read_stdin() -> str:
    """Return the source on standard input."""
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8 (byte {error.start})") from None


def deliver(
    report: Report,
    destinations: Sequence[Destination],
    config: Config,
    options: Mapping[str, Any],
) -> int:
    """Write the report in every format that is asked for and return the exit code."""
    shown = _at_least(report, options["show"] or config.output.show)
    for place in destinations:
        common = RenderOptions(
            hidden=len(report) - len(shown),
            show_suppressed=options["show_suppressed"],
            verbose=options["verbose"],
            quiet=options["quiet"],
            statistics=options["statistics"],
            path_base=options["path_base"],
        )
        if place.path:
            _write_file(place.path, load_format(place.format).render(shown, common))
            continue
        color = wants_color(options["color"], sys.stdout)
        on_screen = dataclasses.replace(
            common,
            color=color,
            width=terminal_width(sys.stdout),
            ascii=not encodes(sys.stdout, "█"),
        )
        write_stdout(load_format(place.format).render(shown, on_screen))
    return exit_code(report, options["fail_on"] or config.output.fail_on, options["exit_zero"])


def _at_least(report: Report, show: str) -> Report:
    lowest = Severity(show).rank
    findings = tuple(finding for finding in report if finding.severity.rank >= lowest)
    return dataclasses.replace(report, findings=findings)


def _write_file(path: str, text: str) -> None:
    try:
        with Path(path).open(
            "w", encoding="utf-8", errors="backslashreplace", newline="\n"
        ) as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def exit_code(report: Report, fail_on: str, exit_zero: bool) -> int:
    """Return 1 when a finding is at or above the severity that fails, else 0."""
    if exit_zero or fail_on == "never" or report.worst is None:
        return 0
    return int(report.worst.rank >= Severity(fail_on).rank)
