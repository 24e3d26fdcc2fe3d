"""A probe as event files for TensorBoard: scalars over steps, histograms, findings as text."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnlint.errors import UsageError
from nnlint.linter.findings import Report
from nnlint.linter.measured import HISTOGRAM_BINS, Histograms, Magnitudes, Measured
from nnlint.linter.probed import Probed, layers
from nnlint.linter.verdicts import verdicts

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

# The first bin holds what is below 2^-40, the last but one what is 2^21 or more, the last what is
# not finite.
_LOWEST = -40
_LIMITS = tuple(float(_LOWEST + each) for each in range(HISTOGRAM_BINS - 1))


def check_tensorboard(folder: str) -> None:
    """Raise UsageError where event files cannot be written, before anything is run."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise UsageError(
            "--tensorboard needs tensorboardX", hint="pip install 'nnlint[tensorboard]'"
        )
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror or error}") from None


def write_tensorboard(report: Report, folder: str) -> None:
    """Write each probed model as a run of its own below a folder.

    A run that is there already is left as it is; the new one gets a number.

    Raises:
        UsageError: tensorboardX is not installed, or the folder cannot be written.
    """
    check_tensorboard(folder)
    from tensorboardX import SummaryWriter

    # It warns of each value that is not finite, which TensorBoard shows well.
    logging.getLogger("tensorboardX").setLevel(logging.ERROR)
    for probed in report.probes:
        if probed.measured is None:
            continue
        try:
            with SummaryWriter(logdir=str(_free(Path(folder), probed.model))) as writer:
                _write(writer, probed, probed.measured, report)
        except OSError as error:
            raise UsageError(f"cannot write into {folder}: {error.strerror or error}") from None


def _free(folder: Path, model: str) -> Path:
    """Return a folder for a run that is not there yet."""
    name = re.sub(r"[^\w.-]+", "_", model).strip(".") or "model"
    taken = {each.name for each in folder.iterdir()}
    number = 2
    found = name
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    return folder / found


def _write(writer: SummaryWriter, probed: Probed, measured: Measured, report: Report) -> None:
    for tag, values in (*_series(measured), *_experiments(measured)):
        for step, value in enumerate(values):
            if value is not None:
                writer.add_scalar(tag, value, step)
    for tag, counts in _histograms(measured):
        for step, bins in enumerate(counts):
            _add_histogram(writer, tag, bins, step)
    told = [f"**{each.label}**: {each.text}" for each in verdicts(measured)]
    told += [
        f"{each.severity.value}: {each.message} [{each.rule}]"
        for each in report.findings
        if each.model == probed.model
    ]
    if told:
        writer.add_text("findings", "\n\n".join(told), 0)


def _series(measured: Measured) -> Iterator[tuple[str, Sequence[float | None]]]:
    """Yield the loss, and of each layer the size of its activation, gradient and update."""
    yield "loss", measured.losses
    found: dict[str, list[float | None]] = {}
    for step in range(measured.steps):
        for layer in layers(_at(measured, step)):
            path = layer.path or "model"
            for name, value in (
                ("activation", layer.activation_rms),
                ("gradient", layer.gradient_rms),
                ("update", layer.update_ratio),
            ):
                series = found.setdefault(f"{name}/{path}", [None] * measured.steps)
                series[step] = value
    yield from found.items()


def _at(measured: Measured, step: int) -> Measured:
    """Return a measurement of one step alone."""

    def only(values: Magnitudes) -> Magnitudes:
        return values[step : step + 1]

    return dataclasses.replace(
        measured,
        losses=measured.losses[step : step + 1],
        units=(),
        nodes=tuple(
            dataclasses.replace(
                node,
                activation_rms=only(node.activation_rms),
                gradient_rms=only(node.gradient_rms),
            )
            for node in measured.nodes
        ),
        parameters=tuple(
            dataclasses.replace(
                parameter,
                rms=only(parameter.rms),
                gradient_rms=only(parameter.gradient_rms),
                update_ratio=only(parameter.update_ratio),
            )
            for parameter in measured.parameters
        ),
    )


def _experiments(measured: Measured) -> Iterator[tuple[str, Sequence[float]]]:
    """Yield the curves of the experiments."""
    found = measured.experiments
    if found.initial_loss is not None:
        yield "initial-loss/loss", found.initial_loss.losses
    if found.overfit is not None:
        for attempt in found.overfit.attempts:
            yield f"overfit/lr_{attempt.learning_rate:g}", attempt.losses
    if found.lr_range is not None:
        yield "lr-range/loss", found.lr_range.losses
        yield "lr-range/smoothed", found.lr_range.smoothed
        yield "lr-range/log10_rate", _log10(found.lr_range.learning_rates)
    if found.clip is not None:
        yield "clip/loss_without", found.clip.losses
        yield "clip/loss_with", found.clip.clipped_losses
        yield "clip/norm_without", found.clip.norms
        yield "clip/norm_with", found.clip.clipped_norms
    if found.seeds is not None:
        yield "seeds/loss", [each.loss for each in found.seeds.initialisations]


def _log10(values: Sequence[float]) -> list[float]:
    return [math.log10(value) if value > 0 else math.nan for value in values]


def _histograms(measured: Measured) -> Iterator[tuple[str, Histograms]]:
    """Yield the counts of magnitudes, of an activation under its place in the order."""
    for node in measured.nodes:
        name = f"{node.index:04d}_{node.site.path or 'model'}"
        yield f"log2_activations/{name}", node.activation_histograms
        yield f"log2_gradients/{name}", node.gradient_histograms
    for parameter in measured.parameters:
        yield f"log2_parameters/{parameter.name}", parameter.histograms
        yield f"log2_parameter_gradients/{parameter.name}", parameter.gradient_histograms


def _add_histogram(writer: Any, tag: str, bins: Sequence[int], step: int) -> None:
    """Add the counts by binary logarithm, on which magnitudes of all sizes are seen."""
    counts = list(bins[: len(_LIMITS)])
    total = sum(counts)
    if not total:
        return
    # Each value counts as the middle of its bin.
    middles = [limit - 0.5 for limit in _LIMITS]
    used = [middle for middle, count in zip(middles, counts, strict=True) if count]
    writer.add_histogram_raw(
        tag,
        min=used[0] - 0.5,
        max=used[-1] + 0.5,
        num=total,
        sum=sum(middle * count for middle, count in zip(middles, counts, strict=True)),
        sum_squares=sum(m * m * count for m, count in zip(middles, counts, strict=True)),
        bucket_limits=list(_LIMITS),
        bucket_counts=counts,
        global_step=step,
    )
